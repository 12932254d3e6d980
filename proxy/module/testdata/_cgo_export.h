// What decide.c calls of Go, for replace.c.
#include <stdbool.h>
bool paviseCheck(uint8_t direction, struct pv_facts *f, struct pv_verdict *v);
