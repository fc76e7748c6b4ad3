/* The guest agent: what its files share. docs/formats/guest-agent.md has the protocol.
 *
 * One process and one loop (loop.c) serve all calls. Nothing is allocated: each call has a slot with fixed
 * buffers in the bss, whose pages exist only after the first use. Work that may block (running a program,
 * reading or writing a file) is done in a forked child, with pipes to the agent. */
#ifndef AGENT_H
#define AGENT_H
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of the program, for people; PROTOCOL_VERSION is what both sides compare. */
#define AGENT_VERSION "1"

enum {
  AGENT_PORT = 1024,
  PROTOCOL_VERSION = 3,
  MAX_CALLS = 64,
  MAX_FUNCTIONS = 64,
  MAX_OPEN_BYTES = 65536,
  MAX_DATA_BYTES = 16384,
  MAX_FIELDS = 2048,
  MAX_WORDS = 1024,            /* arguments, and variables of the environment */
  INPUT_BYTES = 32768,         /* the credit of stream 0 */
  OUT_BYTES = 40960,
  OUT_RESERVE = 4096,          /* kept free of DATA: room for any answer to a frame of the host, and for FAIL */
  MAX_CREDIT = 1 << 20,
  MAX_FUNCTION_BYTES = 16 << 20,
  OPEN_LIMIT_MS = 10000,
  LINGER_MS = 5000,
  MAX_MESSAGE = 1024,
  MAX_PATH = 4096,
};

enum kind { OPEN = 1, ACCEPTED, DATA, END, CREDIT, SIGNAL, RESIZE, RESULT, FAIL, PING, PONG, STEP };

enum verb { V_PING = 1, V_EXEC, V_PUT, V_GET, V_MEMORY, V_START, V_INVOKE, V_STOP, V_LIST, V_FIX_UP, V_HOOK,
            V_PAGES };

enum tag {
  T_ARG = 1, T_ENV, T_CWD, T_USER, T_TTY, T_TIMEOUT, T_PATH, T_MODE, T_NAME, T_SIZE,
  T_CLOCK, T_ENTROPY, T_HOSTNAME, T_MACHINE_ID, T_ADDRESS, T_ROUTE, T_SCRIPTS,
  T_CODE = 32, T_MESSAGE, T_ERRNO, T_EXIT, T_SIGNAL, T_TIMED_OUT, T_ELAPSED, T_PID, T_AGENT, T_UPTIME,
  T_STEP, T_WAS, T_FUNCTION, T_STATUS, T_HANDLER,
};

struct bytes { uint8_t *at; uint32_t length; };

/* What a child tells the agent through its status pipe: records of one size, each written at once. */
struct report {
  enum { R_FAILED = 1, R_FILE, R_DONE, R_STEP } kind;
  int32_t error;               /* Linux's errno, or 0 */
  uint64_t value;              /* R_FILE: the mode; R_DONE: bytes; R_STEP: microseconds */
  uint64_t size;               /* R_FILE */
  char code[16];               /* R_FAILED: a code of the protocol */
  char text[208];
};

enum phase { FREE, PREAMBLE, OPENING, STARTING, RUNNING, QUEUED, CLOSING, LINGERING };

struct function;

/* One connection. Descriptors are -1 if there is none. */
struct call {
  enum phase phase;
  enum verb verb;
  int socket;
  uint32_t have, open_bytes;   /* bytes in `in`; of those, the request, which is kept there */
  uint32_t out_start, out_end;
  uint32_t input_start, input_end;
  uint32_t input_credit, credit[3];
  bool input_ended, input_refused, exited, timed_out, tty, borrowed;
  int input, output[3], status; /* output[1] and output[2]: where streams 1 and 2 come from */
  pid_t pid;
  int wait_status;
  uint32_t left[3];            /* of streams 1 and 2: what was in their pipes when the child had ended */
  uint64_t number;             /* calls in the order in which they were opened */
  uint64_t done_bytes, to_send;
  int64_t started_us, deadline_ms, clock_was_ns;
  struct report failure;       /* kind is 0 if there is none */
  struct function *function;
  uint8_t *in, *ring, *out;
};

extern struct call calls[MAX_CALLS];

/* loop.c */
int64_t now_us(void);
int64_t now_ms(void);
void watch(int fd, short events);
void run_agent(int listener, bool only_host);

/* call.c */
struct call *take_call(int socket);
void open_call(struct call *c);
void serve_call(struct call *c);
void watch_call(struct call *c);
void end_call(struct call *c);
void kill_group(pid_t leader);
void kill_work(struct call *c);
void child_ended(pid_t pid, int wait_status);

/* frames.c */
void receive(struct call *c);
void flush(struct call *c);
bool has_room(struct call *c, uint32_t bytes);
uint32_t data_room(struct call *c);
uint8_t *data_place(struct call *c);
void queue_data(struct call *c, int stream, uint32_t bytes);
void queue_plain(struct call *c, enum kind kind, int stream, const void *payload, uint32_t bytes);
void begin_frame(struct call *c, enum kind kind);
void add_field(struct call *c, enum tag tag, const void *bytes, uint32_t length);
void add_number(struct call *c, enum tag tag, uint64_t value);
void add_text(struct call *c, enum tag tag, const char *text);
void end_frame(struct call *c);
void fail(struct call *c, const char *code, int error, const char *message);
void handle_frame(struct call *c, enum kind kind, int stream, uint8_t *payload, uint32_t length);

/* fields.c */
bool next_field(struct bytes *rest, enum tag *tag, struct bytes *value);
bool fields_are_whole(struct bytes fields);
struct bytes request_fields(struct call *c);
bool find_field(struct call *c, enum tag tag, struct bytes *value);
uint64_t number_of(struct call *c, enum tag tag, uint64_t fallback);
bool text_of(struct bytes value, char *to, uint32_t room);
bool is_function_name(struct bytes name);
uint16_t get16(const uint8_t *at);
uint32_t get32(const uint8_t *at);
uint64_t get64(const uint8_t *at);
void put16(uint8_t *at, uint16_t value);
void put32(uint8_t *at, uint32_t value);
void put64(uint8_t *at, uint64_t value);

/* streams.c */
void take_input(struct call *c, uint8_t *data, uint32_t length);
void input_end(struct call *c);
void close_input(struct call *c);
void measure_outputs(struct call *c);
void give_credit(struct call *c);
void pump_input(struct call *c);
void pump_outputs(struct call *c);
bool outputs_ended(struct call *c);

/* spawn.c: what a child gets. Descriptors below 10 are the agent's reserve, so that these never collide. */
enum { CHILD_STATUS = 5, FIRST_OWN_DESCRIPTOR = 10 };
struct plan {
  bool input, output, error;   /* pipes for standard input, output, error; else /dev/null */
  bool tty;
  uint16_t rows, columns;
  int requests, replies, log;  /* of a function: its descriptors 3 and 4, and its output; else -1 */
};
bool spawn(struct call *c, const struct plan *plan, void (*body)(struct call *));
void reserve_descriptors(void);
void report_to_agent(const struct report *report);
void child_fails(const char *code, int error, const char *text) __attribute__((noreturn));

/* command.c, users.c, session.c */
struct owner { uid_t uid; gid_t gid; char name[64], home[256], shell[256]; };
void run_command(struct call *c);
void find_user(const char *user, struct owner *owner);
void become(const struct owner *owner);
void act_as(const struct owner *owner);
void kill_session(pid_t session);
void for_each_process(void (*visit)(pid_t pid, void *context), void *context);

/* files.c, parts.c, memory.c */
void put_file(struct call *c);
void get_file(struct call *c);
void report_memory(struct call *c);
void run_scripts(struct call *c);
void run_hook(struct call *c);

/* pages.c */
void report_pages(struct call *c);

/* functions.c, function-verbs.c */
void open_start(struct call *c);
void open_invoke(struct call *c);
void open_stop(struct call *c);
void list_functions(struct call *c);
void leave_function(struct call *c);
bool function_ended(pid_t pid);
void serve_functions(void);
void watch_functions(void);
int64_t functions_deadline(void);
void print_functions(int fd);

/* verbs.c, fixup.c, network.c */
void open_verb(struct call *c);
void finish_if_done(struct call *c);
void take_reports(struct call *c);
void fix_up(struct call *c);
int set_address(struct bytes value);
int add_route(struct bytes value);

/* init.c */
void start_as_init(void);
void start_entry(void);
void shut_down(void) __attribute__((noreturn));

/* text.c */
void say(const char *text);
void write_all(int fd, const void *bytes, uint32_t length);
char *decimal(uint64_t value, char *end);
#endif
