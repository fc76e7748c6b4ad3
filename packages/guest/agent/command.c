/* The child of exec and start: turns the fields of a request into a program that runs. */
#include "agent.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { DEFAULTS = 6, MAX_IMAGE_BYTES = 65536 };

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char *args[MAX_WORDS + 1];
static char *environment[2 * MAX_WORDS + DEFAULTS + 1];
static unsigned arg_count, env_count;
static const char *cwd, *user;

static bool has_variable(const char *variable) {
  size_t name = strcspn(variable, "=");
  for (unsigned i = 0; i < env_count; i++)
    if (strncmp(environment[i], variable, name) == 0 && environment[i][name] == '=') return true;
  return false;
}

static void add_default(char *variable) {
  if (!has_variable(variable)) environment[env_count++] = variable;
}

static char *joined(const char *name, const char *value) {
  static char room[3 * 320];
  static unsigned used;
  char *at = room + used;
  used += strlen(name) + strlen(value) + 1;
  return strcat(strcpy(at, name), value);
}

/* Texts get their zero byte where the next field begins, so all fields are found before any text is used.
 * There is a byte to spare behind the last one. */
static void collect(struct bytes rest, bool is_request) {
  enum tag tag;
  struct bytes value;
  uint8_t *end = NULL;
  unsigned first_env = env_count;
  while (next_field(&rest, &tag, &value)) {
    if (end != NULL) *end = 0;
    end = value.at + value.length;
    char *text = (char *)value.at;
    if (tag == T_ARG && is_request) args[arg_count++] = text;
    else if (tag == T_ENV && env_count - first_env < MAX_WORDS) environment[env_count++] = text;
    else if (tag == T_CWD && cwd == NULL) cwd = text;
    else if (tag == T_USER && user == NULL) user = text;
  }
  if (end != NULL) *end = 0;
}

/* What the guest's image says of its programs: env, cwd and user where the request says nothing. If it cannot
 * be read, the image's user is not known, and a program that should not be root's must not become root's. */
static void collect_defaults_of_image(void) {
  static uint8_t image[MAX_IMAGE_BYTES + 1];
  int fd = open("/etc/varve/image", O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) return;
  ssize_t got = fd < 0 ? -1 : read(fd, image, sizeof image);
  int error = got < 0 ? errno : EINVAL;
  unsigned first = env_count;
  if (got < 0 || got > MAX_IMAGE_BYTES || !fields_are_whole((struct bytes){image, got})) {
    if (user == NULL) child_fails("SPAWN_FAILED", error, "/etc/varve/image is damaged, and the call names no user");
    return;
  }
  close(fd);
  collect((struct bytes){image, got}, false);
  // Of a variable that the request sets too, the request's counts.
  unsigned all = env_count;
  env_count = first;
  for (unsigned i = first; i < all; i++) {
    char *variable = environment[i];
    if (!has_variable(variable)) environment[env_count++] = variable;
  }
}

void run_command(struct call *c) {
  static struct owner owner;
  collect(request_fields(c), true);
  collect_defaults_of_image();
  find_user(user != NULL ? user : "0", &owner);
  add_default((char *)default_path);
  add_default(joined("HOME=", owner.home));
  add_default(joined("USER=", owner.name));
  add_default(joined("LOGNAME=", owner.name));
  add_default(joined("SHELL=", owner.shell));
  if (c->tty) add_default("TERM=xterm");
  // Root stays root without a call: it may have no right to setgroups in a container.
  if (owner.uid != getuid() || owner.gid != getgid()) become(&owner);
  if (chdir(cwd != NULL ? cwd : "/") != 0) child_fails("SPAWN_FAILED", errno, cwd != NULL ? cwd : "/");
  environ = environment;
  execvp(args[0], args);
  child_fails("SPAWN_FAILED", errno, args[0]);
}
