// The reference of `npm run bench:record`: which pages of a file are in the page cache, as runs. It does what
// residentPages and pageSetFromBytes of packages/core do: map the file, mincore(2), runs out of the bytes,
// unmap.
// Prints the nanoseconds of each pass and, last, pages and runs found.
//   mincore-pass FILE PASSES
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  int fd = open(argv[1], O_RDONLY);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) return 1;
  size_t pages = (size_t)st.st_size / 4096;
  size_t found = 0, runs = 0;
  for (int pass = atoi(argv[2]); pass > 0; pass--) {
    int64_t from = now();
    unsigned char *vector = calloc(pages, 1);
    uint32_t *starts = malloc(16 * sizeof *starts), *counts = malloc(16 * sizeof *counts);
    size_t room = 16;
    void *memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (memory == MAP_FAILED || mincore(memory, (size_t)st.st_size, vector) != 0) return 1;
    munmap(memory, (size_t)st.st_size);
    found = runs = 0;
    for (size_t page = 0; page < pages;) {
      if (!(vector[page] & 1)) {
        page++;
        continue;
      }
      size_t start = page;
      while (page < pages && (vector[page] & 1)) page++;
      if (runs == room) {
        room *= 2;
        starts = realloc(starts, room * sizeof *starts);
        counts = realloc(counts, room * sizeof *counts);
      }
      starts[runs] = (uint32_t)start;
      counts[runs++] = (uint32_t)(page - start);
      found += page - start;
    }
    int64_t ns = now() - from;
    free(vector);
    free(starts);
    free(counts);
    printf("%lld\n", (long long)ns);
  }
  printf("%zu %zu\n", found, runs);
  return 0;
}
