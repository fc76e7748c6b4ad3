/** The vsock port on which the guest's agent listens. */
export const agentPort = 1024
/** Cap on a function, an input and an output. The guest keeps them in memory. */
export const maxAgentBytes = 16 * 1024 * 1024
/** Function names, as the agent's `case` below has them. */
export const functionName = /^[a-z0-9][a-z0-9-]{0,31}$/

/**
 * The agent in the guest: one busybox shell for each connection, started by socat. Requests and replies follow each
 * other on a connection; LENGTH counts bytes and is decimal.
 *
 *     put NAME LENGTH\n<bytes>       keeps an executable file (a script, say)   → ok 0\n
 *     invoke NAME LENGTH\n<bytes>    runs it, bytes as its standard input       → ok LENGTH\n<its standard output>
 *     ping\n                                                                    → ok LENGTH\nvarve-agent 1
 *     any of them                                                               → err LENGTH\n<what went wrong>
 *
 * dd with `fullblock` takes exactly LENGTH bytes off the connection, where head would read ahead.
 */
export const agentScript = `#!/bin/sh
export PATH=/bin LC_ALL=C
functions=/run/functions
work=$(mktemp -d /run/agent.XXXXXX)
trap 'rm -rf "$work"' EXIT
reply() {
  printf '%s %d\\n' "$1" "$(stat -c %s "$2")"
  cat "$2"
}
refuse() {
  printf '%s' "$1" >"$work/words"
  reply err "$work/words"
}
take() {
  : >"$2"
  [ "$1" -eq 0 ] || dd of="$2" bs="$1" count=1 iflag=fullblock 2>/dev/null
  [ "$(stat -c %s "$2")" -eq "$1" ]
}
while read -r verb name length rest; do
  if [ "$verb" = ping ]; then
    printf 'varve-agent 1' >"$work/words"
    reply ok "$work/words"
    continue
  fi
  case "$name" in
  '' | -* | *[!a-z0-9-]*) refuse 'bad name'; exit 0 ;;
  esac
  case "$length" in
  '' | *[!0-9]* | ?????????*) refuse 'bad length'; exit 0 ;;
  esac
  [ "$length" -le ${maxAgentBytes} ] || { refuse 'too long'; exit 0; }
  take "$length" "$work/input" || exit 0
  case "$verb" in
  put)
    chmod 755 "$work/input"
    mv "$work/input" "$functions/$name"
    : >"$work/words"
    reply ok "$work/words"
    ;;
  invoke)
    if ! [ -x "$functions/$name" ]; then
      refuse "no function $name"
      continue
    fi
    if "$functions/$name" <"$work/input" >"$work/output" 2>"$work/errors"; then
      reply ok "$work/output"
    else
      status=$?
      refuse "exit status $status: $(head -c 4000 "$work/errors")"
    fi
    ;;
  *)
    refuse 'bad verb'
    exit 0
    ;;
  esac
done
`
