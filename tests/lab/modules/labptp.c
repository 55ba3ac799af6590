// SPDX-License-Identifier: GPL-2.0
/* A PTP clock that is a known time ahead of the system clock, and answers only in the ways it is told to. */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/timekeeping.h>

static char *name = "KVM virtual PTP";
module_param(name, charp, 0444);
static long ahead_ns;
module_param(ahead_ns, long, 0644);
static int ways = 2; /* 0: gettime64 alone, 1: gettimex64 too, 2: cross timestamps too */
module_param(ways, int, 0444);

static struct ptp_clock *clock;

static int get(struct ptp_clock_info *info, struct timespec64 *ts)
{
	*ts = ns_to_timespec64(ktime_get_real_ns() + ahead_ns);
	return 0;
}

static int getx(struct ptp_clock_info *info, struct timespec64 *ts, struct ptp_system_timestamp *sts)
{
	ptp_read_system_prets(sts);
	get(info, ts);
	ptp_read_system_postts(sts);
	return 0;
}

static int cross(struct ptp_clock_info *info, struct system_device_crosststamp *stamp)
{
	struct system_time_snapshot now;

	ktime_get_snapshot(&now);
	stamp->sys_realtime = now.real;
	stamp->sys_monoraw = now.raw;
	stamp->device = ktime_add_ns(now.real, ahead_ns);
	return 0;
}

/* Nobody sets this clock: whoever tries shows in the log, and a test looks for it. */
static int set(struct ptp_clock_info *info, const struct timespec64 *ts)
{
	pr_err("labptp: somebody sets the clock\n");
	return -EPERM;
}

static int adjust(struct ptp_clock_info *info, s64 delta)
{
	pr_err("labptp: somebody adjusts the clock\n");
	return -EPERM;
}

static int tune(struct ptp_clock_info *info, long ppm)
{
	pr_err("labptp: somebody tunes the clock\n");
	return -EPERM;
}

static int enable(struct ptp_clock_info *info, struct ptp_clock_request *request, int on)
{
	return -EOPNOTSUPP;
}

static struct ptp_clock_info info = {
	.owner = THIS_MODULE,
	.gettime64 = get,
	.settime64 = set,
	.adjtime = adjust,
	.adjfine = tune,
	.enable = enable,
};

static int __init labptp_init(void)
{
	strscpy(info.name, name, sizeof(info.name));
	if (ways >= 1)
		info.gettimex64 = getx;
	if (ways >= 2)
		info.getcrosststamp = cross;
	clock = ptp_clock_register(&info, NULL);
	return PTR_ERR_OR_ZERO(clock);
}

static void __exit labptp_exit(void)
{
	ptp_clock_unregister(clock);
}

module_init(labptp_init);
module_exit(labptp_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("The lab's PTP clock");
