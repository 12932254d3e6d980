// Whether any feed lists an address or a name: snapshot.ContainsAddr and ContainsDomain in
// C, answer for answer. The names are those of package snapshot, which also says what each
// section holds and why a search is as it is.
//
// A look-up reads only what pv_layout was given, whatever stands in it: offsets within a
// section are bounded by the directory in front of it, which Open found ascending, and
// where that is not enough they are compared here.
#ifndef PAVISE_CONTAINS_H
#define PAVISE_CONTAINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
  PV_WINDOW = 24,             // numbers compared without asking how many there are
  PV_SLACK = PV_WINDOW * 2,   // octets that may be read behind the last number
  PV_V4_LOW = 15,             // bits of an IPv4 address in a border
  PV_V6_LOW = 12,             // bits of the high 32 of an IPv6 address in a top
  PV_V6_ENTRY = 32,           // octets of an IPv6 entry
  PV_MAX_NAME = 253,          // octets
  PV_NODE_HEAD = 8,           // octets of a node before its name
  PV_POSTING = 8,             // octets of a posting
  PV_PLAIN_LABELS = 3,        // names of more labels are in the second filter as well
  PV_SELF = 1, PV_BELOW = 2, PV_EXCEPT = 4, PV_MANY = 8, // flags of a node or a posting
};

// A snapshot as it lies in memory. It does not change while it can be reached.
struct pv_snapshot {
  const uint32_t *v4_dir; // NULL: no IPv4
  const uint16_t *v4_borders;

  const uint32_t *v6_dir; // NULL: none within 2000::/3
  const uint16_t *v6_tops;
  const uint32_t *v6_groups;
  const uint32_t *v6_mids;
  const uint64_t *v6_lows;
  const uint64_t *v6_marks;
  const uint8_t *v6_entries;
  uint32_t v6_count;

  uint64_t k0, k1;
  const uint64_t *filter; // NULL: no names
  const uint64_t *deep;   // NULL, or as long as filter
  const uint32_t *buckets;
  const uint8_t *names;
  const uint8_t *postings;
  uint64_t postings_size;
  uint32_t words;        // of filter
  uint32_t bucket_count; // one less than there are items in buckets
  uint32_t feed_count;
  bool tlds;

  const uint8_t *exceptions; // for each feed, whether it takes names of its own back

  // What the host of the snapshot keeps with it.
  bool unloaded[2];         // for ingress and egress: a feed that denies was never loaded
  struct pv_snapshot *next; // among those that are to be freed
  void *reserved;           // the mapping
  size_t reserved_size;
};

static inline uint64_t pv_load64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint32_t pv_load32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint16_t pv_load16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }

// pv_at_most is 1 if a is at most b, else 0, without a branch.
static inline uint32_t pv_at_most(uint32_t a, uint32_t b) { return (uint32_t)(((uint64_t)a - b - 1) >> 63); }

#define PV_TOPS UINT64_C(0x8000800080008000)
#define PV_LANES UINT64_C(0x0001000100010001)
#define PV_SIX PV_TOPS, PV_TOPS, PV_TOPS, PV_TOPS, PV_TOPS, PV_TOPS

// pv_masks[n % 4] + 6 - n / 4 selects the first n of the numbers in six words.
static const uint64_t pv_masks[4][13] = {
    {PV_SIX, 0},
    {PV_SIX, UINT64_C(0x8000)},
    {PV_SIX, UINT64_C(0x80008000)},
    {PV_SIX, UINT64_C(0x800080008000)},
};

// pv_below returns from and how many of the numbers of a sorted list, from from to to, are
// at most low. They have 15 bits each, and there is slack behind the list.
static inline uint32_t pv_below(const uint16_t *list, uint32_t from, uint32_t to, uint16_t low) {
  uint32_t n = to - from;
  while (n > PV_WINDOW) {
    uint32_t half = n / 2;
    from += half * pv_at_most(list[from + half - 1], low);
    n -= half;
  }
  const uint8_t *p = (const uint8_t *)(list + from);
  const uint64_t *m = pv_masks[n % 4] + 6 - n / 4;
  uint64_t key = low * PV_LANES | PV_TOPS, sum = 0;
  for (int i = 0; i < 6; i++) sum += ((key - pv_load64(p + 8 * i)) & m[i]) >> 15;
  return from + (uint32_t)(sum * PV_LANES >> 48);
}

static inline bool pv_contains_v4(const struct pv_snapshot *s, uint32_t ip) {
  if (!s->v4_dir) return false;
  uint32_t c = ip >> PV_V4_LOW;
  return pv_below(s->v4_borders, s->v4_dir[c], s->v4_dir[c + 1], ip & ((1 << PV_V4_LOW) - 1)) & 1;
}

// pv_rank6 searches the borders from from to to, which share the high 32 bits, for the
// first above an address.
static inline uint32_t pv_rank6(const struct pv_snapshot *s, uint32_t from, uint32_t to, uint32_t mid, uint64_t low) {
  uint32_t n = to - from;
  if (n == 0) return from;
  uint32_t last = from; // of those that are at most mid
  while (n > 1) {
    uint32_t half = n / 2;
    last += half * pv_at_most(s->v6_mids[last + half], mid);
    n -= half;
  }
  uint32_t found = s->v6_mids[last];
  if (found != mid || !(s->v6_marks[last / 64] >> (last % 64) & 1)) return last + pv_at_most(found, mid);
  to = last + 1;
  while (from < to) {
    uint32_t middle = from + (to - from) / 2;
    if (s->v6_mids[middle] < mid || s->v6_lows[middle] <= low) from = middle + 1;
    else to = middle;
  }
  return from;
}

// pv_entry6 says whether entry number i is around an address.
static inline bool pv_entry6(const uint8_t *e, uint64_t hi, uint64_t lo) {
  unsigned bits = e[26] < 128 ? e[26] : 128;
  uint64_t mask_hi = bits >= 64 ? 0 : ~UINT64_C(0) >> bits;
  uint64_t mask_lo = bits >= 128 ? 0 : bits >= 64 ? ~UINT64_C(0) >> (bits - 64) : ~UINT64_C(0);
  return (hi & ~mask_hi) == pv_load64(e) && (lo & ~mask_lo) == pv_load64(e + 8);
}

// pv_search6 looks among the entries: for what lies outside 2000::/3.
static inline bool pv_search6(const struct pv_snapshot *s, uint64_t hi, uint64_t lo) {
  uint32_t from = 0, to = s->v6_count;
  while (from < to) {
    uint32_t middle = from + (to - from) / 2;
    const uint8_t *e = s->v6_entries + (uint64_t)middle * PV_V6_ENTRY;
    uint64_t start = pv_load64(e);
    if (hi < start || (hi == start && lo < pv_load64(e + 8))) to = middle;
    else from = middle + 1;
  }
  if (from == 0) return false;
  for (uint32_t i = from - 1;;) {
    const uint8_t *e = s->v6_entries + (uint64_t)i * PV_V6_ENTRY;
    if (pv_entry6(e, hi, lo)) return true;
    uint32_t parent = pv_load32(e + 20);
    if (parent >= i) return false; // none, or not as a Builder writes it
    i = parent;
  }
}

static inline bool pv_contains_v6(const struct pv_snapshot *s, uint64_t hi, uint64_t lo) {
  if (hi >> 61 != 1) return s->v6_count != 0 && pv_search6(s, hi, lo);
  if (!s->v6_dir) return false;
  uint32_t c = (uint32_t)(hi << 3 >> (32 + 3 + PV_V6_LOW));
  uint32_t from = s->v6_dir[c], to = s->v6_dir[c + 1];
  uint16_t low = hi >> 32 & ((1 << PV_V6_LOW) - 1);
  uint32_t n = pv_below(s->v6_tops, from, to, low);
  if (n == from || s->v6_tops[n - 1] != low) return s->v6_groups[n] & 1; // none shares the high 32 bits
  return pv_rank6(s, s->v6_groups[n - 1], s->v6_groups[n], (uint32_t)hi, lo) & 1;
}

static inline uint64_t pv_mix(uint64_t a, uint64_t b) {
  unsigned __int128 r = (unsigned __int128)a * b;
  return (uint64_t)(r >> 64) ^ (uint64_t)r;
}

// pv_hash is hashKey.hash, of 1 to 253 octets.
static inline uint64_t pv_hash(const struct pv_snapshot *s, const uint8_t *p, uint32_t n) {
  uint64_t a, b = 0, seed = s->k1;
  if (n > 16) {
    for (uint32_t i = 0; n - i > 16; i += 16) seed = pv_mix(pv_load64(p + i) ^ s->k0, pv_load64(p + i + 8) ^ seed);
    a = pv_load64(p + n - 16), b = pv_load64(p + n - 8);
  } else if (n >= 8) {
    a = pv_load64(p), b = pv_load64(p + n - 8);
  } else if (n >= 4) {
    a = pv_load32(p), b = pv_load32(p + n - 4);
  } else {
    a = (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1];
  }
  return pv_mix(s->k0 ^ n, pv_mix(a ^ s->k0, b ^ seed));
}

static inline uint32_t pv_place(uint64_t h, uint32_t n) { return (uint32_t)((h >> 32) * n >> 32); }

static inline uint64_t pv_bits(uint64_t h) {
  return UINT64_C(1) << (h & 63) | UINT64_C(1) << (h >> 6 & 63) | UINT64_C(1) << (h >> 12 & 63) |
         UINT64_C(1) << (h >> 18 & 63);
}

static inline bool pv_passes(const uint64_t *filter, uint32_t words, uint64_t h) {
  return (pv_bits(h) & ~filter[pv_place(h, words)]) == 0;
}

// pv_find returns the node of a name of the given hash, or NULL.
static inline const uint8_t *pv_find(const struct pv_snapshot *s, uint64_t h, const uint8_t *name, uint32_t n) {
  uint32_t b = pv_place(h, s->bucket_count);
  const uint8_t *p = s->names + s->buckets[b], *end = s->names + s->buckets[b + 1];
  while (end - p >= PV_NODE_HEAD) {
    uint32_t length = p[PV_NODE_HEAD - 1];
    if (end - p < PV_NODE_HEAD + (ptrdiff_t)length) return NULL; // not as a Builder writes it
    if (length == n && memcmp(p + PV_NODE_HEAD, name, n) == 0) return p;
    p += PV_NODE_HEAD + length;
  }
  return NULL;
}

struct pv_posting {
  uint16_t feed;
  uint8_t flags;
};

// pv_posting_of reads number i of a node, false behind the last.
static inline bool pv_posting_of(const struct pv_snapshot *s, const uint8_t *node, uint32_t i, struct pv_posting *out) {
  if (!(node[6] & PV_MANY)) {
    out->feed = pv_load16(node + 4), out->flags = node[6];
    return i == 0;
  }
  uint64_t at = ((uint64_t)pv_load32(node) + i) * PV_POSTING;
  if (i >= pv_load16(node + 4) || at + PV_POSTING > s->postings_size) return false;
  out->feed = pv_load16(s->postings + at + 4), out->flags = s->postings[at + 6];
  return true;
}

// A walk goes through the nodes of a name and of what is above it, from the last labels on.
struct pv_walk {
  uint32_t at, labels;
  bool done;
};

static inline const uint8_t *pv_next(const struct pv_snapshot *s, struct pv_walk *w, const uint8_t *name, uint32_t n,
                                     uint32_t *begin) {
  while (!w->done && w->at > 0) {
    uint32_t at = w->at - 1;
    while (at > 0 && name[at - 1] != '.') at--;
    w->labels++;
    uint64_t h = pv_hash(s, name + at, n - at);
    const uint8_t *node = pv_passes(s->filter, s->words, h) ? pv_find(s, h, name + at, n - at) : NULL;
    // Whether there are any below it.
    w->done = w->labels == PV_PLAIN_LABELS && (!s->deep || !pv_passes(s->deep, s->words, h));
    w->at = at > 0 ? at - 1 : 0;
    if (node) {
      *begin = at;
      return node;
    }
  }
  return NULL;
}

// pv_excepted says whether a feed takes a name out again.
static inline bool pv_excepted(const struct pv_snapshot *s, const uint8_t *name, uint32_t n, uint16_t feed) {
  if (!s->exceptions[feed]) return false;
  struct pv_walk w = {.at = n};
  struct pv_posting p;
  uint32_t begin;
  for (const uint8_t *node; (node = pv_next(s, &w, name, n, &begin));)
    for (uint32_t i = 0; pv_posting_of(s, node, i, &p); i++)
      if (p.feed == feed && p.flags & PV_EXCEPT) return true;
  return false;
}

// pv_stands says whether a node, which a name has from an offset on, stands for the name.
static inline bool pv_stands(const struct pv_snapshot *s, const uint8_t *node, const uint8_t *name, uint32_t n,
                             uint32_t at) {
  uint8_t wanted = at == 0 ? PV_SELF : PV_BELOW;
  if (!(node[6] & wanted)) return false;
  struct pv_posting p;
  for (uint32_t i = 0; pv_posting_of(s, node, i, &p); i++)
    if (p.feed < s->feed_count && !(p.flags & PV_EXCEPT) && p.flags & wanted && !pv_excepted(s, name, n, p.feed))
      return true;
  return false;
}

// pv_search_name is pv_contains_name for names of any number of labels.
static inline bool pv_search_name(const struct pv_snapshot *s, const uint8_t *name, uint32_t n) {
  struct pv_walk w = {.at = n};
  uint32_t begin;
  for (const uint8_t *node; (node = pv_next(s, &w, name, n, &begin));)
    if (pv_stands(s, node, name, n, begin)) return true;
  return false;
}

// pv_dots8 returns which of eight octets are dots.
static inline uint64_t pv_dots8(uint64_t w) {
  const uint64_t rest = UINT64_C(0x7f7f7f7f7f7f7f7f);
  uint64_t x = w ^ '.' * UINT64_C(0x0101010101010101);
  x = ~((x & rest) + rest) & ~x & ~rest; // 0x80 for each that is one
  return (x >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

static inline uint32_t pv_len64(uint64_t m) { return m ? 64 - (uint32_t)__builtin_clzll(m) : 0; }

// pv_without_last is m without its highest bit.
static inline uint64_t pv_without_last(uint64_t m) { return m ? m & ~(UINT64_C(1) << (pv_len64(m) - 1)) : 0; }

// pv_last_dot returns the offset behind the last dot before end, 0 if there is none.
static inline uint32_t pv_last_dot(const uint8_t *name, uint32_t end) {
  while (end > 0 && name[end - 1] != '.') end--;
  return end;
}

// pv_cut finds where the last two and the last three labels of a name begin, the latter 0
// where there are no more than three, and whether there are more. It returns false for a
// name of one label.
static inline bool pv_cut(const uint8_t *name, uint32_t n, uint32_t *two, uint32_t *three, bool *more) {
  if (n < 8 || n > 64) {
    uint32_t last = pv_last_dot(name, n);
    *two = *three = 0, *more = false;
    if (last == 0) return false;
    if ((*two = pv_last_dot(name, last - 1)) == 0) return true;
    *three = pv_last_dot(name, *two - 1);
    *more = *three > 0;
    return true;
  }
  uint64_t m = pv_dots8(pv_load64(name)) | pv_dots8(pv_load64(name + n - 8)) << (n - 8);
  for (uint32_t i = 8; i + 8 < n; i += 8) m |= pv_dots8(pv_load64(name + i)) << i;
  if (m == 0) return false;
  m = pv_without_last(m);
  *two = pv_len64(m);
  m = pv_without_last(m);
  *three = pv_len64(m), *more = m != 0;
  return true;
}

// pv_contains_name answers from two words of the filter for nearly every name that is not
// listed. The name is canonical; what is not, or too long, is not listed.
static inline bool pv_contains_name(const struct pv_snapshot *s, const char *text, size_t size) {
  const uint8_t *name = (const uint8_t *)text;
  if (!s->filter || size == 0 || size > PV_MAX_NAME) return false;
  uint32_t n = (uint32_t)size, two, three;
  bool more;
  if (!pv_cut(name, n, &two, &three, &more) || s->tlds) return pv_search_name(s, name, n);
  uint64_t h2 = pv_hash(s, name + two, n - two), h3 = pv_hash(s, name + three, n - three);
  // Both words are asked for before either is looked at.
  uint64_t lacks2 = pv_bits(h2) & ~s->filter[pv_place(h2, s->words)];
  uint64_t lacks3 = pv_bits(h3) & ~s->filter[pv_place(h3, s->words)];
  if (lacks2 && lacks3 && (!more || !s->deep || !pv_passes(s->deep, s->words, h3))) return false;
  const uint8_t *node;
  if (!lacks2 && (node = pv_find(s, h2, name + two, n - two)) && pv_stands(s, node, name, n, two)) return true;
  if (!lacks3 && three != two && (node = pv_find(s, h3, name + three, n - three)) && pv_stands(s, node, name, n, three))
    return true;
  return more && pv_search_name(s, name, n);
}

enum { PV_SECTIONS = 17, PV_HEADER = 128, PV_SECTION_ROW = 32, PV_TABLE_END = PV_HEADER + PV_SECTIONS * PV_SECTION_ROW };

// pv_layout sets a snapshot to sections of a file that snapshot.Open accepted, whose first
// PV_TABLE_END octets are at head. It returns NULL, or what is not as Open leaves it.
const char *pv_layout(struct pv_snapshot *s, const uint8_t *head, const uint8_t *const sections[PV_SECTIONS],
                      const uint64_t sizes[PV_SECTIONS]);

// pv_open maps a file that snapshot.Open accepted. exceptions says for each of its feeds
// whether it takes names back; it is copied. It returns NULL and sets why, or a snapshot
// for pv_close.
struct pv_snapshot *pv_open(int fd, const uint8_t *exceptions, uint32_t feeds, const char **why);

void pv_close(struct pv_snapshot *s);

#endif
