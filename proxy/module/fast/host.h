// Addresses and hosts as Envoy and clients write them, in the form in which feeds list
// them. Nothing here allocates, and nothing is longer than it says.
#ifndef PAVISE_HOST_H
#define PAVISE_HOST_H

#include <arpa/inet.h>

#include "contains.h"

// An address as a number: IPv4 in lo. A mapped address is the IPv4 one.
struct pv_addr {
  uint8_t family; // 0: none, else 4 or 6
  uint64_t hi, lo;
};

// A host is a name or an address, or neither if it has no canonical form that a feed could
// list.
struct pv_host {
  struct pv_addr addr;
  uint32_t size; // of name
  char name[PV_MAX_NAME + 1];
};

static inline bool pv_contains_addr(const struct pv_snapshot *s, const struct pv_addr *a) {
  if (a->family == 4) return pv_contains_v4(s, (uint32_t)a->lo);
  return a->family == 6 && pv_contains_v6(s, a->hi, a->lo);
}

static inline bool pv_contains_host(const struct pv_snapshot *s, const struct pv_host *h) {
  return h->addr.family ? pv_contains_addr(s, &h->addr) : pv_contains_name(s, h->name, h->size);
}

// pv_digit is the value of a digit to a base, -1 for what is none.
static inline int pv_digit(uint8_t c, int base) {
  int v = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
  return v < base ? v : -1;
}

// pv_parse_v4 reads an address of one to four numbers, each decimal, octal (0…) or
// hexadecimal (0x…), the last of which fills what is left: all that inet_aton takes, and
// so all that a program may connect to when it is given such a host.
static inline bool pv_parse_v4(const char *p, size_t n, struct pv_addr *out) {
  uint64_t value = 0;
  const char *end = p + n;
  if (n > 64) return false; // leading zeros have no end
  for (int part = 0; part < 4; part++) {
    int base = 10;
    if (p < end && *p == '0') {
      base = 8;
      if (end - p > 1 && (p[1] | 32) == 'x') base = 16, p += 2;
    }
    uint64_t number = 0;
    const char *first = p;
    for (int d; p < end && (d = pv_digit((uint8_t)*p, base)) >= 0; p++)
      if ((number = number * (uint64_t)base + (uint64_t)d) > UINT32_MAX) return false;
    if (p == first) return false;
    if (p == end) { // the last
      if (number >> (32 - 8 * part) != 0) return false;
      out->family = 4, out->hi = 0, out->lo = value << (32 - 8 * part) | number;
      return true;
    }
    if (*p++ != '.' || number > 255) return false;
    value = value << 8 | number;
  }
  return false;
}

// pv_parse_v6 reads an IPv6 address; a zone is not looked at.
static inline bool pv_parse_v6(const char *p, size_t n, struct pv_addr *out) {
  const char *zone = memchr(p, '%', n);
  if (zone) n = (size_t)(zone - p);
  char text[INET6_ADDRSTRLEN];
  if (n == 0 || n >= sizeof text) return false;
  memcpy(text, p, n);
  text[n] = 0;
  uint8_t b[16];
  if (inet_pton(AF_INET6, text, b) != 1) return false;
  uint64_t hi = 0, lo = 0;
  for (int i = 0; i < 8; i++) hi = hi << 8 | b[i], lo = lo << 8 | b[i + 8];
  if (hi == 0 && lo >> 32 == 0xffff) {
    out->family = 4, out->hi = 0, out->lo = (uint32_t)lo;
  } else {
    out->family = 6, out->hi = hi, out->lo = lo;
  }
  return true;
}

// pv_parse_addr reads an address as Envoy writes it: 192.0.2.1, 2001:db8::1, or either with
// its port, 192.0.2.1:80 and [2001:db8::1]:80. What is none, a socket's path, sets family 0.
static inline void pv_parse_addr(const char *p, size_t n, struct pv_addr *out) {
  out->family = 0;
  if (n == 0) return;
  if (*p == '[') {
    const char *close = memchr(p, ']', n);
    if (close) (void)pv_parse_v6(p + 1, (size_t)(close - p - 1), out);
    return;
  }
  const char *colon = memchr(p, ':', n);
  if (colon && memchr(colon + 1, ':', (size_t)(p + n - colon - 1))) {
    (void)pv_parse_v6(p, n, out);
  } else {
    (void)pv_parse_v4(p, colon ? (size_t)(colon - p) : n, out);
  }
}

// pv_parse_host reads a host, a server name or an authority: user@WWW.Example.:8080 is
// www.example. Of [2001:db8::1]:443 and of what is a number it is the address.
static inline void pv_parse_host(const char *p, size_t n, struct pv_host *out) {
  out->addr.family = 0, out->size = 0;
  const char *end = p + n;
  if (n == 0) return;
  for (const char *at; (at = memchr(p, '@', (size_t)(end - p)));) p = at + 1;
  if (p < end && *p == '[') {
    const char *close = memchr(p, ']', (size_t)(end - p));
    if (close) (void)pv_parse_v6(p + 1, (size_t)(close - p - 1), &out->addr);
    return;
  }
  const char *port = end;
  while (port > p && port[-1] >= '0' && port[-1] <= '9') port--;
  if (port > p && port[-1] == ':') end = port - 1;
  if (end > p && end[-1] == '.') end--;
  if (end == p || end - p > PV_MAX_NAME) return;
  if (*p >= '0' && *p <= '9' && pv_parse_v4(p, (size_t)(end - p), &out->addr)) return;
  while (p < end) {
    char c = *p++;
    out->name[out->size++] = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
  }
}

#endif
