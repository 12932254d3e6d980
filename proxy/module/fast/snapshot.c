#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contains.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

// The numbers of the sections, as in format.go.
enum {
  SEC_FEEDS, SEC_V4_ENTRIES, SEC_V4_FIRST, SEC_V4_DIR, SEC_V4_BORDERS,
  SEC_V6_ENTRIES, SEC_V6_DIR, SEC_V6_TOPS, SEC_V6_GROUPS, SEC_V6_MIDS, SEC_V6_LOWS, SEC_V6_MARKS,
  SEC_NAMES, SEC_POSTINGS, SEC_BUCKETS, SEC_DEEP, SEC_FILTER,
};

enum {
  VERSION = 1,
  V4_DIR = (1 << (32 - PV_V4_LOW)) + 1,
  V6_DIR = (1 << (32 - 3 - PV_V6_LOW)) + 1,
  MAX_ENTRIES = 0x7ffffffe,
  HUGE = 2 << 20, // of a page that the kernel may map a file on tmpfs with
};

const char *pv_layout(struct pv_snapshot *s, const uint8_t *head, const uint8_t *const sections[PV_SECTIONS],
                      const uint64_t sizes[PV_SECTIONS]) {
  if (memcmp(head, "PAVISNAP", 8) != 0 || pv_load32(head + 8) != VERSION || pv_load32(head + 12) != PV_SECTIONS)
    return "not a snapshot of version 1";
  s->k0 = pv_load64(head + 16), s->k1 = pv_load64(head + 24);
  s->tlds = head[48] != 0;

  if (sizes[SEC_V4_DIR] / 4 != 0) {
    if (sizes[SEC_V4_DIR] / 4 != V4_DIR || sizes[SEC_V4_BORDERS] < PV_SLACK) return "IPv4 directory: not as it was opened";
    s->v4_dir = (const uint32_t *)sections[SEC_V4_DIR];
    s->v4_borders = (const uint16_t *)sections[SEC_V4_BORDERS];
  }
  uint64_t entries = sizes[SEC_V6_ENTRIES] / PV_V6_ENTRY;
  s->v6_count = entries < MAX_ENTRIES ? (uint32_t)entries : MAX_ENTRIES;
  s->v6_entries = sections[SEC_V6_ENTRIES];
  if (sizes[SEC_V6_DIR] / 4 != 0) {
    uint64_t tops = sizes[SEC_V6_TOPS] / 2, mids = sizes[SEC_V6_MIDS] / 4;
    if (sizes[SEC_V6_DIR] / 4 != V6_DIR || tops < PV_SLACK / 2 || sizes[SEC_V6_GROUPS] / 4 != tops - PV_SLACK / 2 + 1 ||
        sizes[SEC_V6_LOWS] / 8 != mids || sizes[SEC_V6_MARKS] / 8 != (mids + 63) / 64)
      return "IPv6 directory: not as it was opened";
    s->v6_dir = (const uint32_t *)sections[SEC_V6_DIR];
    s->v6_tops = (const uint16_t *)sections[SEC_V6_TOPS];
    s->v6_groups = (const uint32_t *)sections[SEC_V6_GROUPS];
    s->v6_mids = (const uint32_t *)sections[SEC_V6_MIDS];
    s->v6_lows = (const uint64_t *)sections[SEC_V6_LOWS];
    s->v6_marks = (const uint64_t *)sections[SEC_V6_MARKS];
  }
  uint64_t words = sizes[SEC_FILTER] / 8, deep = sizes[SEC_DEEP] / 8, buckets = sizes[SEC_BUCKETS] / 4;
  if (words != 0) {
    if (words > UINT32_MAX || buckets < 2 || buckets > UINT32_MAX || (deep != 0 && deep != words))
      return "name buckets: not as they were opened";
    s->filter = (const uint64_t *)sections[SEC_FILTER];
    s->deep = deep != 0 ? (const uint64_t *)sections[SEC_DEEP] : NULL;
    s->buckets = (const uint32_t *)sections[SEC_BUCKETS];
    s->names = sections[SEC_NAMES];
    s->postings = sections[SEC_POSTINGS];
    s->postings_size = sizes[SEC_POSTINGS];
    s->words = (uint32_t)words;
    s->bucket_count = (uint32_t)(buckets - 1);
  }
  return NULL;
}

// map_file maps a file at a multiple of a huge page, so that the kernel can use them, and
// asks for its pages: a worker thread is not to wait for the first look at each.
static const uint8_t *map_file(struct pv_snapshot *s, int fd, size_t size) {
  s->reserved_size = size + HUGE;
  s->reserved = mmap(NULL, s->reserved_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (s->reserved == MAP_FAILED) {
    s->reserved = NULL;
    return NULL;
  }
  uint8_t *at = (uint8_t *)s->reserved + (HUGE - (uintptr_t)s->reserved % HUGE) % HUGE;
  if (mmap(at, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) return NULL;
#ifdef MADV_POPULATE_READ
  (void)madvise(at, size, MADV_POPULATE_READ); // Linux 5.14; slower at first without
#endif
  return at;
}

struct pv_snapshot *pv_open(int fd, const uint8_t *exceptions, uint32_t feeds, const char **why) {
  struct stat info;
  if (fstat(fd, &info) != 0 || info.st_size < PV_TABLE_END) {
    *why = "the file is shorter than it was";
    return NULL;
  }
  struct pv_snapshot *s = calloc(1, sizeof *s);
  uint8_t *flags = calloc(feeds + 1, 1);
  uint64_t size = (uint64_t)info.st_size;
  const uint8_t *data = s && flags ? map_file(s, fd, size) : NULL;
  if (!data) {
    free(flags);
    if (s) pv_close(s);
    *why = "no memory to map it in";
    return NULL;
  }
  if (feeds > 0) memcpy(flags, exceptions, feeds);
  s->exceptions = flags, s->feed_count = feeds;

  const uint8_t *sections[PV_SECTIONS];
  uint64_t sizes[PV_SECTIONS];
  *why = NULL;
  for (int i = 0; i < PV_SECTIONS && !*why; i++) {
    uint64_t offset = pv_load64(data + PV_HEADER + i * PV_SECTION_ROW);
    sizes[i] = pv_load64(data + PV_HEADER + i * PV_SECTION_ROW + 8);
    if (offset % 64 != 0 || offset > size || sizes[i] > size - offset) *why = "a section is not within the file";
    sections[i] = data + offset;
  }
  if (!*why) *why = pv_layout(s, data, sections, sizes);
  if (*why) {
    pv_close(s);
    return NULL;
  }
  return s;
}

void pv_close(struct pv_snapshot *s) {
  if (s->reserved) (void)munmap(s->reserved, s->reserved_size);
  free((void *)s->exceptions);
  free(s);
}
