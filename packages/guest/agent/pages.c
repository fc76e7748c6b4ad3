/* The child of `pages`: which process, mapping or file has which frames. docs/formats/page-owners.md has the
 * report. It looks through one window of pages at a time, so that it needs few pages itself. */
#include "agent.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  PAGE = 4096,
  WINDOW = 1024,               /* pages */
  MAX_LOOK = 1 << 24,          /* pages of a mapping or file that are looked at: 64 GiB */
  MAX_FILES = 1 << 18,
  MAX_DEPTH = 48,              /* each level has a directory open */
  LINE_BYTES = 8192,
};

static char out[8192], path[MAX_PATH], line[LINE_BYTES];
static uint32_t used, files, processes, skipped;
static uint64_t entries[WINDOW];
static int own_pagemap;
static dev_t root_device;
static struct { uint64_t page, frame, count; char kind; } run;

static void send_out(void) {
  write_all(1, out, used);
  used = 0;
}

static void put(const char *text, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) {
    if (used == sizeof out) send_out();
    out[used++] = text[i];
  }
}

static void word(const char *text) { put(text, strlen(text)); }

/* As the kernel writes a newline in /proc/PID/maps. */
static void name(const char *text) {
  for (; *text; text++) {
    uint8_t it = *text;
    char escaped[4] = {'\\', '0' + (it >> 6), '0' + (it >> 3 & 7), '0' + (it & 7)};
    bool plain = it >= ' ' && it != 127;
    put(plain ? text : escaped, plain ? 1 : 4);
  }
}

static void hex(uint64_t value) {
  char digits[17], *at = digits + 16;
  *at = 0;
  do *--at = "0123456789abcdef"[value & 15];
  while (value >>= 4);
  word(at);
}

static void number(uint64_t value) {
  char digits[24], *end = digits + 23;
  *end = 0;
  word(decimal(value, end));
}

static void end_run(void) {
  if (run.count == 0) return;
  word("run "), hex(run.page), word(" "), hex(run.frame), word(" "), hex(run.count);
  word(run.kind == 'f' ? " f\n" : " a\n");
  run.count = 0;
}

/* An entry of a pagemap (admin-guide/mm/pagemap.rst): bit 63 present, 61 of a file, 0 to 54 the frame. */
static void add_entry(uint64_t page, uint64_t entry) {
  uint64_t frame = entry & ((1ull << 55) - 1);
  char kind = entry >> 61 & 1 ? 'f' : 'a';
  if (!(entry >> 63)) return;
  if (run.count > 0 && page == run.page + run.count && frame == run.frame + run.count && kind == run.kind) {
    run.count++;
    return;
  }
  end_run();
  run.page = page, run.frame = frame, run.count = 1, run.kind = kind;
}

static void add_mapping(int pagemap, uint64_t page, uint64_t end) {
  if (end - page > MAX_LOOK) {
    skipped++;
    return;
  }
  while (page < end) {
    uint64_t wanted = end - page < WINDOW ? end - page : WINDOW;
    ssize_t got = pread(pagemap, entries, wanted * 8, page * 8);
    if (got < 8) break;
    for (ssize_t i = 0; i < got / 8; i++) add_entry(page + i, entries[i]);
    page += got / 8;
  }
  end_run();
}

static uint64_t take_hex(const char **at) {
  uint64_t value = 0;
  for (;; ++*at) {
    char it = **at;
    if (it >= '0' && it <= '9') value = value << 4 | (it - '0');
    else if (it >= 'a' && it <= 'f') value = value << 4 | (it - 'a' + 10);
    else return value;
  }
}

/* START-END PERMS OFFSET MAJOR:MINOR INODE, blanks, PATH. Blanks before the path are for people. */
static void add_maps_line(int pagemap) {
  const char *at = line;
  uint64_t start = take_hex(&at);
  if (*at++ != '-') return;
  uint64_t end = take_hex(&at);
  // The kernel's own half, and what is only reserved.
  if (start >> 63 || strncmp(at, " ---", 4) == 0) return;
  word("map "), hex(start), word(" "), hex(end);
  for (int fields = 0; fields < 4 && *at; fields++)
    do put(at++, 1);
    while (*at && *at != ' ');
  while (*at == ' ') at++;
  word(" "), name(at), word("\n");
  add_mapping(pagemap, start / PAGE, end / PAGE);
}

static void add_maps(int maps, int pagemap) {
  uint32_t have = 0;
  for (ssize_t got; (got = read(maps, line + have, LINE_BYTES - 1 - have)) > 0;) {
    have += got;
    for (;;) {
      char *end = memchr(line, '\n', have);
      if (end == NULL && have < LINE_BYTES - 1) break;
      uint32_t length = end == NULL ? have : end - line + 1;
      line[end == NULL ? have : length - 1] = 0;
      add_maps_line(pagemap);
      memmove(line, line + length, have -= length);
    }
  }
}

static int open_of(pid_t pid, const char *file) {
  char digits[24], *end = digits + 23;
  *end = 0;
  strcat(strcat(strcpy(path, "/proc/"), decimal(pid, end)), file);
  return open(path, O_RDONLY | O_CLOEXEC);
}

static void add_process(pid_t pid, void *context) {
  (void)context;
  char command[64];
  int comm = open_of(pid, "/comm"), maps = open_of(pid, "/maps"), pagemap = open_of(pid, "/pagemap");
  ssize_t length = comm < 0 ? 0 : read(comm, command, sizeof command - 1);
  if (length > 0 && pagemap >= 0 && maps >= 0) {
    command[length - 1] = 0;
    processes++;
    word("process "), number(pid), word(" "), name(command), word("\n");
    add_maps(maps, pagemap);
  }
  close(comm), close(maps), close(pagemap);
}

/* A file that was cut short, or cannot be read, must not end the report: the page becomes anonymous. */
static void replace_page(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);
  mmap((void *)page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* Maps what is cached, page by page, and reads from its own pagemap which frames these are. */
static void add_window(int fd, uint64_t first, uint32_t pages, bool *named) {
  static unsigned char cached[WINDOW];
  uint8_t *at = mmap(NULL, pages * PAGE, PROT_READ, MAP_PRIVATE, fd, first * PAGE);
  if (at == MAP_FAILED) return;
  uint32_t found = 0;
  madvise(at, pages * PAGE, MADV_RANDOM);
  if (mincore(at, pages * PAGE, cached) == 0)
    for (uint32_t i = 0; i < pages; i++)
      if (cached[i] & 1) (void)*(volatile uint8_t *)(at + i * PAGE), found++;
  if (found > 0 && pread(own_pagemap, entries, pages * 8, (uintptr_t)at / PAGE * 8) == pages * 8) {
    if (!*named) word("file "), name(path), word("\n");
    *named = true;
    for (uint32_t i = 0; i < pages; i++)
      if (entries[i] >> 61 & 1) add_entry(first + i, entries[i]);
  }
  munmap(at, pages * PAGE);
}

static void add_file(int folder, const char *entry) {
  bool named = false;
  int fd = openat(folder, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC);
  off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
  if (size / PAGE > MAX_LOOK) skipped++, size = 0;
  for (off_t page = 0; page * PAGE < size; page += WINDOW) {
    off_t left = (size + PAGE - 1) / PAGE - page;
    add_window(fd, page, left < WINDOW ? left : WINDOW, &named);
  }
  end_run();
  files += named;
  if (fd >= 0) close(fd);
}

static int open_folder(int parent, const char *entry, int flags) {
  return openat(parent, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
}

/* All files below the open `folder`, on the file system of the root. `path` is its name, for the report, and
 * has `length` characters. Follows no link: a user who replaces a folder by a link leads the walk nowhere,
 * such as to a device that does something when it is opened. */
static void walk(int folder, uint32_t length, int depth, mode_t wanted) {
  static uint32_t seen;
  struct stat status;
  struct dirent *entry;
  DIR *directory = folder < 0 ? NULL : fdopendir(folder);
  while (directory != NULL && (entry = readdir(directory)) != NULL) {
    uint32_t added = strlen(entry->d_name);
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    bool fits = length + added + 2 <= sizeof path;
    path[length] = '/';
    if (fits) strcpy(path + length + 1, entry->d_name);
    if (!fits || fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    bool below = S_ISDIR(status.st_mode) && status.st_dev == root_device && wanted == S_IFREG;
    bool is_wanted = (status.st_mode & S_IFMT) == wanted;
    if ((below && depth == MAX_DEPTH) || (is_wanted && seen == MAX_FILES)) skipped++;
    else if (below) walk(open_folder(folder, entry->d_name, O_NOFOLLOW), length + 1 + added, depth + 1, wanted);
    else if (is_wanted) seen++, add_file(folder, entry->d_name);
  }
  if (directory != NULL) closedir(directory);
}

void report_pages(struct call *c) {
  struct bytes value;
  struct stat root;
  struct sigaction replace = {.sa_sigaction = replace_page, .sa_flags = SA_SIGINFO};
  own_pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  // Without CAP_SYS_ADMIN all frames are 0.
  entries[0] = 0;
  if (pread(own_pagemap, entries, 8, (uintptr_t)entries / PAGE * 8) != 8 || entries[0] << 9 == 0)
    child_fails("FAILED", EPERM, "the agent may not see the numbers of page frames");
  bool walks = find_field(c, T_PATH, &value);
  if (walks && (!text_of(value, path, sizeof path) || path[0] != '/' || stat(path, &root) != 0))
    child_fails("BAD_REQUEST", errno, "path is not the absolute path of a directory");
  word("page-owners 1\nasker "), number(getpid()), word("\n");
  for_each_process(add_process, NULL);
  if (walks && text_of(value, path, sizeof path)) {
    sigaction(SIGBUS, &replace, NULL);
    root_device = root.st_dev;
    int below = open_folder(AT_FDCWD, path, 0);
    walk(below, strcmp(path, "/") == 0 ? 0 : strlen(path), 0, S_IFREG);
    // The caches of disks themselves: what a file system reads besides the content of files.
    strcpy(path, "/dev");
    walk(open_folder(AT_FDCWD, path, 0), 4, 0, S_IFBLK);
  }
  word("end "), number(processes), word(" "), number(files), word(" "), number(skipped), word("\n");
  send_out();
}
