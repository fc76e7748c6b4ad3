# Keeps functions in processes, and runs programs.
import os, select, signal, struct, subprocess, sys, threading, time

from bounds import MAX_BODY

MAX_WORDS = 4096
HERE = os.path.dirname(os.path.abspath(__file__))
INTERPRETERS = {
    "python": [sys.executable, os.path.join(HERE, "runner.py")],
    "node": ["node", os.path.join(HERE, "runner.mjs")],
}


class Refusal(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def words_of(path):
    """The end of what a function said to its log."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - MAX_WORDS))
            return log.read(MAX_WORDS).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def read_pipe(fd, count, deadline):
    """Exactly count bytes, or None where the other end has closed."""
    chunks = []
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while count > 0:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError()
        chunk = os.read(fd, min(count, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def write_pipe(fd, data, deadline):
    """The other end may be stuck: the pipe does not block, and waiting has its end."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    view = memoryview(data)
    while view:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError()
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            pass


def end_group(process):
    """A process and what it started; it leads a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def wait_for(process, deadline):
    """Sleeps until it has ended; Popen.wait with a time limit looks again and again."""
    fd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
            raise TimeoutError()
    finally:
        os.close(fd)
    return process.wait()


class Kept:
    """A function whose process stays: runner.py or runner.mjs."""

    def __init__(self, name, runtime, path, timeout):
        self.name, self.runtime = name, runtime
        self.invocations = 0
        self.lock = threading.Lock()
        self.log = path + ".log"
        child_in, self.requests = os.pipe()
        self.replies, child_out = os.pipe()
        os.set_blocking(self.requests, False)
        try:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    [*INTERPRETERS[runtime], path, str(child_in), str(child_out), str(MAX_BODY)],
                    cwd=os.path.dirname(path),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(child_in, child_out),
                    start_new_session=True,
                )
        except OSError as error:
            self.close_pipes()
            raise Refusal("START_FAILED", f"{INTERPRETERS[runtime][0]}: {error}")
        finally:
            os.close(child_in)
            os.close(child_out)
        try:
            status, _, answer = self.take(time.monotonic() + timeout)
        except Refusal as refusal:
            self.stop()
            raise Refusal("START_FAILED", str(refusal))
        if status != 0:
            self.stop()
            raise Refusal("START_FAILED", answer.decode("utf-8", "replace"))

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def take(self, deadline):
        try:
            head = read_pipe(self.replies, 13, deadline)
            if head is not None:
                status, micros, length = struct.unpack("<BQI", head)
                if length > MAX_BODY:
                    end_group(self.process)
                    raise Refusal("FUNCTION_ENDED", f"it answered with a length of {length}")
                body = read_pipe(self.replies, length, deadline)
                if body is not None:
                    return status, micros, body
        except TimeoutError:
            end_group(self.process)
            raise Refusal("FUNCTION_TIMEOUT", "it took too long and was ended")
        end_group(self.process)
        raise Refusal("FUNCTION_ENDED", f"its process ended with {self.process.returncode}: {words_of(self.log)}")

    def invoke(self, body, timeout):
        deadline = time.monotonic() + timeout
        if not self.lock.acquire(timeout=timeout):
            raise Refusal("FUNCTION_TIMEOUT", "other calls took all the time")
        try:
            if not self.running():
                raise Refusal("FUNCTION_ENDED", f"its process ended with {self.process.returncode}: {words_of(self.log)}")
            os.truncate(self.log, 0)
            try:
                write_pipe(self.requests, struct.pack("<I", len(body)), deadline)
                write_pipe(self.requests, body, deadline)
            except BrokenPipeError:
                pass
            except TimeoutError:
                end_group(self.process)
                raise Refusal("FUNCTION_TIMEOUT", "it took too long and was ended")
            status, micros, answer = self.take(deadline)
            self.invocations += 1
        finally:
            self.lock.release()
        if status == 2:
            raise Refusal("TOO_LONG", f"the output exceeds {MAX_BODY} bytes")
        if status != 0:
            raise Refusal("FUNCTION_FAILED", answer.decode("utf-8", "replace"))
        return micros, answer

    def close_pipes(self):
        os.close(self.requests)
        os.close(self.replies)

    def stop(self):
        """Whoever is in a call sees the process end; the pipes are closed when nobody is."""
        end_group(self.process)
        with self.lock:
            self.close_pipes()


class Program:
    """A function that is an executable, run anew for each call."""

    runtime = "program"
    pid = None

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.invocations = 0
        self.stopped = False
        if not os.access(path, os.X_OK):
            raise Refusal("START_FAILED", f"{os.path.basename(path)} is not executable")

    def running(self):
        return True

    def invoke(self, body, timeout):
        deadline = time.monotonic() + timeout
        with os.fdopen(os.memfd_create("input"), "w+b", 0) as source, os.fdopen(
            os.memfd_create("output"), "w+b", 0
        ) as sink, os.fdopen(os.memfd_create("words"), "w+b", 0) as words:
            source.write(body)
            source.seek(0)
            try:
                process = subprocess.Popen(
                    [self.path],
                    cwd=os.path.dirname(self.path),
                    stdin=source,
                    stdout=sink,
                    stderr=words,
                    start_new_session=True,
                )
            except OSError as error:
                raise Refusal("FUNCTION_FAILED", str(error))
            try:
                status = wait_for(process, deadline)
            except TimeoutError:
                end_group(process)
                raise Refusal("FUNCTION_TIMEOUT", "it took too long and was ended")
            self.invocations += 1
            if status != 0:
                words.seek(0)
                said = words.read(MAX_WORDS).decode("utf-8", "replace").strip()
                raise Refusal("FUNCTION_FAILED", f"exit status {status}: {said}")
            if os.fstat(sink.fileno()).st_size > MAX_BODY:
                raise Refusal("TOO_LONG", f"the output exceeds {MAX_BODY} bytes")
            sink.seek(0)
            return None, sink.read()

    def stop(self):
        pass
