// SPDX-License-Identifier: GPL-2.0
/*
 * One source for the lab's modules; a file of two lines defines what is wanted of it and includes it:
 *
 *   PROVIDES             exports lab_count (GPL-only), lab_plain and lab_spaced (in namespace LAB)
 *   PROVIDES_OTHER       the same, lab_count with another prototype and so another CRC
 *   USES_COUNT/PLAIN/SPACED/WEAK   needs lab_count / lab_plain / lab_spaced / lab_count as a weak reference
 *   USES_KERNEL          needs several exports of the kernel itself, GPL-only ones (NEEDS_GPL) among them
 */
#include <linux/module.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <linux/slab.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define NAMESPACE "LAB"
#else
#define NAMESPACE LAB
#endif

#ifdef PROVIDES_OTHER
#define PROVIDES
unsigned long lab_count(unsigned long start, unsigned long end);
unsigned long lab_count(unsigned long start, unsigned long end)
{
	return end - start;
}
#else
unsigned long lab_count(unsigned long start);
#ifdef PROVIDES
unsigned long lab_count(unsigned long start)
{
	return start;
}
#endif
#endif
int lab_plain(void);
int lab_spaced(void);

#ifdef PROVIDES
int lab_plain(void)
{
	return 1;
}

int lab_spaced(void)
{
	return 2;
}
EXPORT_SYMBOL_GPL(lab_count);
EXPORT_SYMBOL(lab_plain);
EXPORT_SYMBOL_NS(lab_spaced, NAMESPACE);
#endif

#ifdef USES_WEAK
unsigned long __weak lab_count(unsigned long start);
#endif
#ifdef USES_SPACED
MODULE_IMPORT_NS(NAMESPACE);
#endif

static int __init lab_init(void)
{
	long sum = 0;
#ifdef USES_COUNT
	sum += lab_count(7);
#endif
#ifdef USES_WEAK
	sum += lab_count ? 1 : 0;
#endif
#ifdef USES_PLAIN
	sum += lab_plain();
#endif
#ifdef USES_SPACED
	sum += lab_spaced();
#endif
#ifdef USES_KERNEL
	kfree(kmalloc(sum + 8, GFP_KERNEL));
	pr_debug("%s\n", kasprintf(GFP_KERNEL, "%ld", sum) ? "" : "none");
#endif
#ifdef NEEDS_GPL
	pr_debug("%u\n", work_busy(NULL + sum));
#endif
	return sum == LONG_MIN ? -EDOM : 0;
}

static void __exit lab_exit(void)
{
}

module_init(lab_init);
module_exit(lab_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("lab");
