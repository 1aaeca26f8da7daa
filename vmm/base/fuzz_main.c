/* SPDX-License-Identifier: Apache-2.0 */
/* main() for fuzz targets where libFuzzer is not linked: runs the target over the files given (to
 * look at a finding), else over pseudo-random inputs from a printed seed, so that each target is an
 * ordinary short test with any compiler.
 *
 *   fuzz-opts [FILE…]
 *   FUZZ_SEED=1 FUZZ_COUNT=1000000 fuzz-opts */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "vmm/base/cleanup.h"

#define MAX_INPUT     4096
#define DEFAULT_COUNT 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* xorshift64*: seeded, the same everywhere. */
static uint64_t next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1d;
}

/* An exact copy on the heap, so that a sanitizer sees any read past the end. */
static void run_one(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
}

static int run_file(const char *path)
{
	cleanup_file FILE *f = fopen(path, "re");
	cleanup_free uint8_t *data = NULL;
	size_t cap = 1 << 20, n;

	data = malloc(cap);
	if (!f || !data) {
		perror(path);
		return 1;
	}
	n = fread(data, 1, cap, f);
	run_one(data, n);
	printf("%s: %zu bytes, survived\n", path, n);
	return 0;
}

/* Bytes of three kinds in runs: noise, small numbers, repetitions; lengths mostly short. */
static size_t make_input(uint64_t *state, uint8_t *buf)
{
	size_t size = next(state) % (next(state) % 8 ? 128 : MAX_INPUT);

	for (size_t i = 0; i < size;) {
		uint64_t kind = next(state) % 4, run = 1 + next(state) % 16;

		for (; run && i < size; run--, i++)
			buf[i] = kind == 0	  ? next(state) % 8
				 : kind == 1 && i ? buf[i - 1]
						  : (uint8_t)next(state);
	}
	return size;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	uint64_t seed = env_number("FUZZ_SEED", (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid());
	uint64_t count = env_number("FUZZ_COUNT", DEFAULT_COUNT);
	uint64_t state = seed ? seed : 1;
	uint8_t buf[MAX_INPUT];

	for (int i = 1; i < argc; i++)
		if (run_file(argv[i]))
			return 1;
	if (argc > 1)
		return 0;
	printf("FUZZ_SEED=%" PRIu64 " FUZZ_COUNT=%" PRIu64 "\n", seed, count);
	fflush(stdout); /* before a crash */
	for (uint64_t i = 0; i < count; i++)
		run_one(buf, make_input(&state, buf));
	return 0;
}
