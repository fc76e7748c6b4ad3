/* What functions.c, which passes requests and replies on, and function-verbs.c share. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H
#include "agent.h"

enum { REPLY_HEAD = 13 };

struct function {
  enum { NONE, LOADING, IDLE, BUSY, DROPPING } state;
  char name[33];
  pid_t pid;                   /* 0: its process has ended */
  int requests, replies, log;  /* log: what it writes to its output; -1 once all who could write have ended */
  struct call *call;           /* which start or invoke the next reply belongs to */
  uint64_t calls;
  int64_t deadline_ms;         /* of a call whose connection has ended */
  uint8_t head[REPLY_HEAD];
  uint32_t have, left;         /* of the reply: bytes of the head, and bytes that are still to come */
  uint32_t said_bytes;
  char said[MAX_MESSAGE];      /* the end of its log since the last call began */
};

extern struct function functions[MAX_FUNCTIONS];

struct function *find_function(struct bytes name);
void give_back(struct function *f);
void kill_function(struct function *f);
#endif
