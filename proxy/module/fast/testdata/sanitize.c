// Answers questions about snapshots whose sections each lie in memory of exactly their
// size, so that a sanitizer sees every octet that is read beside one.
//
//   sanitize QUESTIONS SNAPSHOT...
//
// QUESTIONS has a host in each line. For each snapshot it writes a line of a 0 or a 1 for
// each question.
#include <stdio.h>
#include <stdlib.h>

#include "../snapshot.c"
#include "../host.h"

static uint8_t *read_all(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  if (!f || fseek(f, 0, SEEK_END) != 0) exit(2);
  *size = (size_t)ftell(f);
  rewind(f);
  uint8_t *b = malloc(*size + 1);
  if (fread(b, 1, *size, f) != *size) exit(2);
  fclose(f);
  return b;
}

int main(int argc, char **argv) {
  size_t questions_size;
  uint8_t *questions = read_all(argv[1], &questions_size);
  for (int i = 2; i < argc; i++) {
    size_t size;
    uint8_t *file = read_all(argv[i], &size);
    const uint8_t *sections[PV_SECTIONS];
    uint64_t sizes[PV_SECTIONS];
    for (int k = 0; k < PV_SECTIONS; k++) {
      sizes[k] = pv_load64(file + PV_HEADER + k * PV_SECTION_ROW + 8);
      uint8_t *copy = malloc(sizes[k]);
      memcpy(copy, file + pv_load64(file + PV_HEADER + k * PV_SECTION_ROW), sizes[k]);
      sections[k] = copy;
    }
    // Feed 1 takes names back, as in the snapshot that the test makes.
    uint8_t *exceptions = calloc(3, 1);
    exceptions[1] = 1;
    struct pv_snapshot s = {.exceptions = exceptions, .feed_count = 3};
    const char *why = pv_layout(&s, file, sections, sizes);
    if (why) {
      fprintf(stderr, "%s: %s\n", argv[i], why);
      return 3;
    }
    for (size_t at = 0; at < questions_size;) {
      const uint8_t *line = questions + at, *end = memchr(line, '\n', questions_size - at);
      size_t n = (size_t)(end - line);
      char *host = malloc(n);
      memcpy(host, line, n);
      struct pv_host h;
      pv_parse_host(host, n, &h);
      putchar(pv_contains_host(&s, &h) ? '1' : '0');
      free(host);
      at += n + 1;
    }
    putchar('\n');
    for (int k = 0; k < PV_SECTIONS; k++) free((void *)sections[k]);
    free(exceptions);
    free(file);
  }
  free(questions);
  return 0;
}
