/* Users and groups by /etc/passwd and /etc/group: in the guest's image there may be no C library that knows
 * others. Called in a child, whose memory nobody needs afterwards. */
#include "agent.h"
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MAX_LINE = 4096, MAX_GROUPS = 256 };

struct lines { int fd; char text[MAX_LINE]; unsigned have, at; };

/* The next line without its end; NULL at the end of the file. Leaves out lines that are longer, to their end:
 * a piece of one is not an entry. */
static char *next_line(struct lines *l) {
  bool is_piece = false;
  for (;;) {
    char *line = l->text + l->at, *end = memchr(line, '\n', l->have - l->at);
    if (end != NULL) {
      *end = 0;
      l->at = end + 1 - l->text;
      if (!is_piece) return line;
      is_piece = false;
      continue;
    }
    memmove(l->text, line, l->have -= l->at);
    l->at = 0;
    if (l->have == MAX_LINE) l->have = 0, is_piece = true;
    ssize_t got = read(l->fd, l->text + l->have, MAX_LINE - l->have);
    if (got <= 0) return NULL;
    l->have += got;
  }
}

/* Cuts `line` at its colons; returns how many parts there are. */
static int cut(char *line, char **parts, int most) {
  int count = 0;
  for (char *at = line; at != NULL && count < most; count++) {
    parts[count] = at;
    at = strchr(at, ':');
    if (at != NULL) *at++ = 0;
  }
  return count;
}

static bool number_in(const char *text, uint32_t *value) {
  uint64_t it = 0;
  if (*text == 0) return false;
  for (; *text >= '0' && *text <= '9' && it <= UINT32_MAX; text++) it = it * 10 + (*text - '0');
  *value = it;
  return *text == 0 && it < UINT32_MAX;
}

static void copy(char *to, const char *from, size_t room) {
  strncpy(to, from, room - 1);
  to[room - 1] = 0;
}

static bool search_passwd(const char *wanted, bool by_number, uint32_t number, struct owner *owner) {
  static struct lines lines;
  char *line, *part[7];
  uint32_t uid, gid;
  lines = (struct lines){.fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC)};
  while ((line = next_line(&lines)) != NULL) {
    if (cut(line, part, 7) != 7 || !number_in(part[2], &uid) || !number_in(part[3], &gid)) continue;
    if (by_number ? uid != number : strcmp(part[0], wanted) != 0) continue;
    owner->uid = uid, owner->gid = gid;
    copy(owner->name, part[0], sizeof owner->name);
    copy(owner->home, part[5], sizeof owner->home);
    copy(owner->shell, part[6], sizeof owner->shell);
    break;
  }
  close(lines.fd);
  return line != NULL;
}

static bool search_group(const char *wanted, gid_t *gid) {
  static struct lines lines;
  char *line, *part[4];
  uint32_t number;
  bool found = false;
  lines = (struct lines){.fd = open("/etc/group", O_RDONLY | O_CLOEXEC)};
  while (!found && (line = next_line(&lines)) != NULL)
    if (cut(line, part, 4) >= 3 && strcmp(part[0], wanted) == 0 && number_in(part[2], &number))
      *gid = number, found = true;
  close(lines.fd);
  return found;
}

/* `NAME`, `UID`, `NAME:GROUP` or `UID:GID`; ends the child if there is none. A number needs no entry. */
void find_user(const char *user, struct owner *owner) {
  char text[128];
  uint32_t number = 0;
  if (*user == 0 || strlen(user) >= sizeof text) child_fails("NO_USER", 0, "user is empty, or too long for a name");
  strcpy(text, user);
  char *group = strchr(text, ':');
  if (group != NULL) *group++ = 0;
  bool is_number = number_in(text, &number);
  *owner = (struct owner){.uid = number, .gid = number, .home = "/", .shell = "/bin/sh"};
  copy(owner->name, text, sizeof owner->name);
  if (!search_passwd(text, is_number, number, owner) && !is_number) child_fails("NO_USER", 0, user);
  if (group == NULL) return;
  if (number_in(group, &number)) owner->gid = number;
  else if (!search_group(group, &owner->gid)) child_fails("NO_USER", 0, user);
}

static void cannot_take_rights(void) {
  child_fails("SPAWN_FAILED", errno, "the rights of the user could not be taken");
}

static bool is_member(char *members, const char *name) {
  size_t length = strlen(name);
  for (char *at = members; at != NULL && *at != 0; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == 0)) return true;
  return false;
}

static void take_groups(const struct owner *owner) {
  static struct lines lines;
  static gid_t groups[MAX_GROUPS];
  char *line, *part[4];
  uint32_t number;
  int count = 0;
  groups[count++] = owner->gid;
  lines = (struct lines){.fd = open("/etc/group", O_RDONLY | O_CLOEXEC)};
  while (count < MAX_GROUPS && (line = next_line(&lines)) != NULL)
    if (cut(line, part, 4) == 4 && number_in(part[2], &number) && is_member(part[3], owner->name))
      groups[count++] = number;
  close(lines.fd);
  if (setgroups(count, groups) != 0) cannot_take_rights();
}

/* Gives the child the rights of a user for ever: own group, the groups that list the user, then the user.
 * Until it runs the program, it has a copy of the agent's memory, which no other process of the user may
 * read. */
void become(const struct owner *owner) {
  take_groups(owner);
  if (prctl(PR_SET_DUMPABLE, 0) != 0 || setgid(owner->gid) != 0 || setuid(owner->uid) != 0) cannot_take_rights();
}

/* The same for the agent's own work with files. The real user stays root, so that processes of the user can
 * neither stop nor kill the child. Linux takes the capabilities away with the effective user. */
void act_as(const struct owner *owner) {
  // Root stays root without a call: it may have no right to setgroups in a container.
  if (owner->uid == geteuid() && owner->gid == getegid()) return;
  take_groups(owner);
  if (prctl(PR_SET_DUMPABLE, 0) != 0 || setegid(owner->gid) != 0 || seteuid(owner->uid) != 0)
    cannot_take_rights();
}
