// SPDX-License-Identifier: GPL-2.0
/*
 * Process 1 of a machine that only loads modules: carries out /plan and tells what became of each line on the
 * second serial port, after "shown NAME" for each directory in /sys/module.  Lines of the plan, and what is told:
 *
 *   case NAME            begins a case; what the one before loaded is unloaded, last first
 *   load FILE            finit_module: "errno N", then "log TEXT" for each line of the kernel's log,
 *                        "taint LETTERS" of each module that is live since
 *   inflate FILE         the same with MODULE_INIT_COMPRESSED_FILE: the kernel inflates the file itself
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MODULES_MAX 256
#define COMPRESSED_FILE 4

static FILE *out;
static char before[MODULES_MAX][64], loaded[MODULES_MAX][64];
static int before_count, loaded_count;

static int live(char names[][64])
{
	FILE *file = fopen("/proc/modules", "r");
	int count = 0;
	char line[1024];

	while (file && count < MODULES_MAX && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s", names[count]) == 1)
			count++;
	if (file)
		fclose(file);
	return count;
}

static void log_lines(int kmsg)
{
	char record[8192], *text, *end;
	ssize_t size;

	while ((size = read(kmsg, record, sizeof(record) - 1)) > 0 || (size < 0 && errno == EPIPE)) {
		if (size < 0) {
			fprintf(out, "overrun\n");
			continue;
		}
		record[size] = 0;
		text = strchr(record, ';');
		if (!text)
			continue;
		end = strchr(++text, '\n');
		if (end)
			*end = 0;
		fprintf(out, "log %s\n", text);
	}
}

static void load(const char *file, int flags, int kmsg)
{
	char now[MODULES_MAX][64], path[128], taint[64];
	int fd = open(file, O_RDONLY | O_CLOEXEC), count, i, j;
	long status;

	if (fd < 0) {
		fprintf(out, "missing %s\n", file);
		return;
	}
	before_count = live(before);
	while (read(kmsg, now, sizeof(now)) > 0 || errno == EPIPE)
		;
	status = syscall(SYS_finit_module, fd, "", flags);
	fprintf(out, "errno %d\n", status ? errno : 0);
	close(fd);
	log_lines(kmsg);
	count = live(now);
	for (i = 0; i < count; i++) {
		for (j = 0; j < before_count && strcmp(now[i], before[j]); j++)
			;
		if (j < before_count)
			continue;
		snprintf(path, sizeof(path), "/sys/module/%s/taint", now[i]);
		FILE *f = fopen(path, "r");
		if (!f || !fgets(taint, sizeof(taint), f))
			taint[0] = 0;
		if (f)
			fclose(f);
		taint[strcspn(taint, "\n")] = 0;
		fprintf(out, "taint %s\n", taint);
		if (loaded_count < MODULES_MAX)
			strcpy(loaded[loaded_count++], now[i]);
	}
}

static void unload(void)
{
	while (loaded_count) {
		const char *name = loaded[--loaded_count];

		if (syscall(SYS_delete_module, name, O_NONBLOCK))
			fprintf(out, "stays %s %s\n", name, strerror(errno));
	}
}

static void shown(void)
{
	DIR *directory = opendir("/sys/module");
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (entry->d_name[0] != '.')
			fprintf(out, "shown %s\n", entry->d_name);
	if (directory)
		closedir(directory);
}

int main(void)
{
	char line[1024], *file;
	FILE *plan;
	int kmsg;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mknod("/dev/ttyS1", S_IFCHR | 0600, makedev(4, 65));
	mknod("/dev/kmsg", S_IFCHR | 0600, makedev(1, 11));
	out = fopen("/dev/ttyS1", "w");
	plan = fopen("/plan", "r");
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (!out || !plan || kmsg < 0)
		reboot(RB_AUTOBOOT);
	shown();
	while (fgets(line, sizeof(line), plan)) {
		line[strcspn(line, "\n")] = 0;
		file = strchr(line, ' ');
		if (!file)
			continue;
		*file++ = 0;
		if (!strcmp(line, "case")) {
			unload();
			fprintf(out, "case %s\n", file);
		} else {
			fprintf(out, "load %s\n", file);
			load(file, strcmp(line, "inflate") ? 0 : COMPRESSED_FILE, kmsg);
		}
	}
	unload();
	fprintf(out, "end\n");
	fclose(out);
	sync();
	usleep(200000);
	reboot(RB_AUTOBOOT);
	return 0;
}
