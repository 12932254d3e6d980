/* The reader of the table of names for Envoy's module; doc.go says what the table is, and
 * format.go and slot.go have the same layout in Go. A test holds the two together.
 *
 * Header only: C11 with atomics, and GNU extensions for the system's calls (-std=gnu11 or
 * later, cgo's default). pavise_names_lookup may be called from any number of threads; it
 * neither allocates, locks nor calls the system, but for the clock, which is no system call.
 * Opening and closing are for one thread, with no look-up under way.
 *
 * Nothing in the file is trusted: whatever it holds, reading stays within it. What it cannot
 * stand is to be cut short while it is mapped, which its writer never does. */
#ifndef PAVISE_NAMES_H
#define PAVISE_NAMES_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef CLOCK_BOOTTIME
#define CLOCK_BOOTTIME 7
#endif

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(void *) == 8,
               "a word of 64 bits is read in one step, from memory that may not be written to");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the table is little-endian");

/* Room for the names of any address: 440 octets, a comma before each of 8, and one after. */
#define PAVISE_NAMES_TEXT 449

enum {
	pavise_names_header = 4096,
	pavise_names_slot = 512,
	pavise_names_ways = 8,
	pavise_names_address_at = 8,
	pavise_names_expiry_at = 32,
	pavise_names_length_at = 64,
	pavise_names_text_at = 72,
	pavise_names_longest = 253,
	pavise_names_patience = 10000,
};

/* An open table. The zero one has no names, and so has one that was closed. */
struct pavise_names {
	const unsigned char *slots;
	uint64_t mask, k0, k1;
	void *map;
	size_t size;
	dev_t dev;
	ino_t ino;
};

static inline void pavise_names_close(struct pavise_names *t) {
	if (t->map != NULL) {
		munmap(t->map, t->size);
	}
	memset(t, 0, sizeof *t);
}

static inline uint32_t pavise_names_u32(const unsigned char *p) {
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

/* Maps the table at path. 0, or what errno would say, EPROTO for what is no table that this
 * reader knows; then t is as pavise_names_close leaves it. */
static inline int pavise_names_open(struct pavise_names *t, const char *path) {
	unsigned char h[64];
	struct stat st;
	memset(t, 0, sizeof *t);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		return errno;
	}
	int err = EPROTO;
	if (fstat(fd, &st) != 0) {
		err = errno;
	} else if (S_ISREG(st.st_mode) && pread(fd, h, sizeof h, 0) == (ssize_t)sizeof h &&
	           memcmp(h, "PAVNAMES", 8) == 0 && pavise_names_u32(h + 8) == 1) {
		uint32_t n = pavise_names_u32(h + 12);
		if (n >= pavise_names_ways && n <= 1U << 20 && (n & (n - 1)) == 0 &&
		    pavise_names_u32(h + 16) == pavise_names_slot && pavise_names_u32(h + 20) == pavise_names_ways &&
		    (uint64_t)st.st_size == pavise_names_header + (uint64_t)n * pavise_names_slot) {
			t->map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
			err = 0;
			if (t->map == MAP_FAILED) {
				err = errno;
				t->map = NULL;
			}
		}
		t->mask = n / pavise_names_ways - 1;
	}
	close(fd);
	if (err != 0) {
		memset(t, 0, sizeof *t);
		return err;
	}
	t->slots = (const unsigned char *)t->map + pavise_names_header;
	t->size = (size_t)st.st_size;
	t->dev = st.st_dev;
	t->ino = st.st_ino;
	memcpy(&t->k0, h + 32, 8);
	memcpy(&t->k1, h + 40, 8);
	return 0;
}

/* Whether another file stands at path by now, or none, or t is not open. To be asked now and
 * then, twice a second say; who is told so opens anew, and goes on with the old one as long
 * as that fails. */
static inline int pavise_names_stale(const struct pavise_names *t, const char *path) {
	struct stat st;
	return t->map == NULL || stat(path, &st) != 0 || st.st_dev != t->dev || st.st_ino != t->ino;
}

/* SipHash-2-4, see siphash.go. */
static inline uint64_t pavise_names_rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static inline void pavise_names_round(uint64_t s[4]) {
	s[0] += s[1];
	s[1] = pavise_names_rotl(s[1], 13) ^ s[0];
	s[0] = pavise_names_rotl(s[0], 32);
	s[2] += s[3];
	s[3] = pavise_names_rotl(s[3], 16) ^ s[2];
	s[0] += s[3];
	s[3] = pavise_names_rotl(s[3], 21) ^ s[0];
	s[2] += s[1];
	s[1] = pavise_names_rotl(s[1], 17) ^ s[2];
	s[2] = pavise_names_rotl(s[2], 32);
}

static inline uint64_t pavise_names_hash(const struct pavise_names *t, const uint64_t a[2]) {
	const uint64_t in[3] = {a[0], a[1], (uint64_t)16 << 56};
	uint64_t s[4] = {t->k0 ^ 0x736f6d6570736575, t->k1 ^ 0x646f72616e646f6d,
	                 t->k0 ^ 0x6c7967656e657261, t->k1 ^ 0x7465646279746573};
	for (int i = 0; i < 3; i++) {
		s[3] ^= in[i];
		pavise_names_round(s);
		pavise_names_round(s);
		s[0] ^= in[i];
	}
	s[2] ^= 0xff;
	for (int i = 0; i < 4; i++) {
		pavise_names_round(s);
	}
	return s[0] ^ s[1] ^ s[2] ^ s[3];
}

static inline uint64_t pavise_names_word(const unsigned char *slot, size_t at) {
	return atomic_load_explicit((const _Atomic uint64_t *)(const void *)(slot + at), memory_order_relaxed);
}

/* Copies a slot if it is of an address: 1; 0 if it is of another one, or was being written
 * all the time. */
static inline int pavise_names_read(const unsigned char *slot, const uint64_t a[2], unsigned char *copy) {
	const _Atomic uint64_t *sequence = (const _Atomic uint64_t *)(const void *)slot;
	for (int tries = 0; tries < pavise_names_patience; tries++) {
		uint64_t before = atomic_load_explicit(sequence, memory_order_acquire);
		if (before & 1) {
			continue;
		}
		int found = pavise_names_word(slot, pavise_names_address_at) == a[0] &&
		            pavise_names_word(slot, pavise_names_address_at + 8) == a[1];
		for (size_t at = pavise_names_expiry_at; found && at < pavise_names_slot; at += 8) {
			uint64_t w = pavise_names_word(slot, at);
			memcpy(copy + at, &w, 8);
		}
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(sequence, memory_order_relaxed) == before) {
			return found;
		}
	}
	return 0;
}

/* Writes the names in a copy of a slot that hold at a second since boot. */
static inline size_t pavise_names_write(const unsigned char *copy, uint64_t now, char *out) {
	size_t n = 0;
	size_t at = pavise_names_text_at;
	for (size_t i = 0; i < 8; i++) {
		size_t length = copy[pavise_names_length_at + i];
		if (length == 0 || length > pavise_names_longest || at + length > pavise_names_slot) {
			break;
		}
		if (pavise_names_u32(copy + pavise_names_expiry_at + 4 * i) > now) {
			out[n++] = ',';
			memcpy(out + n, copy + at, length);
			n += length;
		}
		at += length;
	}
	if (n > 0) {
		out[n++] = ',';
	}
	return n;
}

/* pavise_names_lookup at a second since boot, for tests. */
static inline size_t pavise_names_lookup_at(const struct pavise_names *t, const uint8_t addr[16], uint64_t now,
                                            char *out, size_t cap) {
	unsigned char copy[pavise_names_slot];
	uint64_t a[2];
	if (t->map == NULL || cap < PAVISE_NAMES_TEXT) {
		return 0;
	}
	memcpy(a, addr, 16);
	uint64_t first = (pavise_names_hash(t, a) & t->mask) * pavise_names_ways;
	for (uint64_t i = first; i < first + pavise_names_ways; i++) {
		if (!pavise_names_read(t->slots + i * pavise_names_slot, a, copy)) {
			continue;
		}
		size_t n = pavise_names_write(copy, now, out);
		if (n > 0) {
			return n;
		}
	}
	return 0;
}

/* Writes the names that addr (IPv4 as IPv4-mapped) was answered for, as ",a.example,b.example,"
 * without a 0 at the end, the one that was learnt last first, and returns how many octets they
 * are; 0 for none. Of a cap below PAVISE_NAMES_TEXT nothing is used, and there are none. */
static inline size_t pavise_names_lookup(const struct pavise_names *t, const uint8_t addr[16], char *out, size_t cap) {
	struct timespec ts;
	if (clock_gettime(CLOCK_BOOTTIME, &ts) != 0) {
		return 0;
	}
	return pavise_names_lookup_at(t, addr, (uint64_t)ts.tv_sec, out, cap);
}

#endif
