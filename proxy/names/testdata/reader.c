/* Asks tables of names for the tests: one question a line, one answer a line.
 *
 *   open PATH         0, or an errno
 *   stale PATH        0 or 1
 *   ask HEX [SECOND]  the names of an address of 32 digits, at a second or now
 *   burst HEX TIMES   what was said in so many look-ups, when it changed, with spaces between
 *   time HEX TIMES    nanoseconds that one look-up takes */
#include "../names.h"

#include <stdio.h>
#include <stdlib.h>

int main(void) {
	struct pavise_names t = {0};
	static char line[8192], text[4096];
	while (fgets(line, sizeof line, stdin) != NULL) {
		unsigned long long n = 0;
		unsigned int octet;
		uint8_t addr[16];
		if (sscanf(line, "open %4095[^\n]", text) == 1) {
			pavise_names_close(&t);
			printf("%d\n", pavise_names_open(&t, text));
		} else if (sscanf(line, "stale %4095[^\n]", text) == 1) {
			printf("%d\n", pavise_names_stale(&t, text));
		} else {
			const char *hex = strchr(line, ' ') + 1;
			for (int i = 0; i < 16; i++) {
				if (sscanf(hex + 2 * i, "%2x", &octet) != 1) {
					return 1;
				}
				addr[i] = (uint8_t)octet;
			}
			int more = sscanf(hex + 32, "%llu", &n);
			/* Exactly as long as it has to be, where a sanitizer sees the end. */
			char *out = malloc(PAVISE_NAMES_TEXT);
			if (line[0] == 't') {
				struct timespec a, b;
				size_t sum = 0;
				clock_gettime(CLOCK_MONOTONIC, &a);
				for (unsigned long long i = 0; i < n; i++) {
					sum += pavise_names_lookup(&t, addr, out, PAVISE_NAMES_TEXT);
				}
				clock_gettime(CLOCK_MONOTONIC, &b);
				printf("%.1f\n", ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec) + 0 * (double)sum) / (double)n);
			} else if (line[0] == 'b') {
				char *last = calloc(1, PAVISE_NAMES_TEXT);
				for (unsigned long long i = 0; i < n; i++) {
					size_t got = pavise_names_lookup(&t, addr, out, PAVISE_NAMES_TEXT);
					if (got > 0 && memcmp(out, last, got) != 0) {
						fwrite(out, 1, got, stdout);
						putchar(' ');
						memcpy(last, out, got);
					}
				}
				free(last);
				putchar('\n');
			} else {
				size_t got = more == 1 ? pavise_names_lookup_at(&t, addr, n, out, PAVISE_NAMES_TEXT)
				                       : pavise_names_lookup(&t, addr, out, PAVISE_NAMES_TEXT);
				if (got > PAVISE_NAMES_TEXT || pavise_names_lookup(&t, addr, out, PAVISE_NAMES_TEXT - 1) != 0) {
					return 2;
				}
				/* A hostile file may hold an end of line. */
				for (size_t i = 0; i < got; i++) {
					out[i] = out[i] == '\n' ? ' ' : out[i];
				}
				fwrite(out, 1, got, stdout);
				putchar('\n');
			}
			free(out);
		}
		fflush(stdout);
	}
	return 0;
}
