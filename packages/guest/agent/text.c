/* Words for people and files, without stdio, which would be most of the program. */
#include "agent.h"
#include <string.h>
#include <unistd.h>

void write_all(int fd, const void *bytes, uint32_t length) {
  const uint8_t *at = bytes;
  while (length > 0) {
    ssize_t n = write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    at += n;
    length -= n;
  }
}

/* A line on the agent's standard error, which is the console if the agent is process 1. */
void say(const char *text) {
  write_all(2, "varve-agent: ", 13);
  write_all(2, text, strlen(text));
  write_all(2, "\n", 1);
}

/* Writes the digits so that they end before `end`; returns where they begin. */
char *decimal(uint64_t value, char *end) {
  do *--end = '0' + value % 10;
  while (value /= 10);
  return end;
}
