/* The child that runs a user's programs: hooks, and scripts of a fix-up. */
#include "agent.h"
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <stdlib.h>

enum { MAX_PARTS = 64, MAX_NAME = 128 };

static char names[MAX_PARTS][MAX_NAME];

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static bool is_program(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* Runs one program to its end. Its output is the child's, and so the call's. */
static void run(const char *path, const char *name) {
  struct report report = {.kind = R_STEP};
  int status = 0;
  int64_t start = now_us();
  pid_t pid = fork();
  if (pid == 0) {
    execl(path, path, NULL);
    _exit(127);
  }
  if (pid < 0 || waitpid(pid, &status, 0) != pid) child_fails("STEP_FAILED", errno, name);
  if (status != 0) {
    char digits[24], text[208] = "", *end = digits + sizeof digits - 1;
    *end = 0;
    bool exited = WIFEXITED(status);
    strncat(text, name, MAX_NAME);
    strcat(text, exited ? ": exit status " : ": signal ");
    child_fails("STEP_FAILED", 0, strcat(text, decimal(exited ? WEXITSTATUS(status) : WTERMSIG(status), end)));
  }
  report.value = now_us() - start;
  strncpy(report.text, name, sizeof report.text - 1);
  report_to_agent(&report);
}

/* A program, or all programs of a directory in the order of their names. Neither is no mistake. */
static void run_parts(const char *path) {
  char program[MAX_PATH];
  int count = 0;
  struct dirent *entry;
  DIR *directory = opendir(path);
  if (directory == NULL) {
    if (is_program(path)) run(path, strrchr(path, '/') + 1);
    return;
  }
  while ((entry = readdir(directory)) != NULL)
    if (entry->d_name[0] != '.' && strlen(entry->d_name) < MAX_NAME) {
      if (count == MAX_PARTS) child_fails("STEP_FAILED", 0, "there are more than 64 programs");
      strcpy(names[count++], entry->d_name);
    }
  closedir(directory);
  qsort(names, count, MAX_NAME, by_name);
  for (int i = 0; i < count; i++) {
    strcat(strcat(strcpy(program, path), "/"), names[i]);
    if (is_program(program)) run(program, names[i]);
  }
}

static void set_path(void) { setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1); }

void run_scripts(struct call *c) {
  (void)c;
  set_path();
  run_parts("/etc/varve/fixup.d");
}

void run_hook(struct call *c) {
  char path[64] = "/etc/varve/hooks.d/", name[32];
  struct bytes value;
  // open_verb has checked that it is a name.
  if (find_field(c, T_NAME, &value) && text_of(value, name, sizeof name)) strcat(path, name);
  set_path();
  run_parts(path);
}
