# Has pages of its own and of a file, and writes a known part of them each time that it is told to.
# Arguments: its name, and how many pages apart it writes.
import mmap
import os
import sys

name, stride = sys.argv[1], int(sys.argv[2])
PAGE, COUNT = 4096, 2048

with open('/proc/self/comm', 'w') as comm:
    comm.write(name)
own = mmap.mmap(-1, COUNT * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
with open('/run/' + name, 'wb+') as file:
    file.truncate(COUNT * PAGE)
    shared = mmap.mmap(file.fileno(), COUNT * PAGE)
for i in range(COUNT):
    own[i * PAGE] = shared[i * PAGE] = 1
os.mkfifo('/run/go-' + name)
open('/run/ready-' + name, 'w').close()
for value in range(2, 255):
    with open('/run/go-' + name) as go:
        go.read()
    for i in range(0, COUNT, stride):
        own[i * PAGE] = shared[i * PAGE] = value
    open('/run/done-' + name, 'w').close()
