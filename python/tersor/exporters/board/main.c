/* Runs a generated network on an emulated board: reads samples from inputs.bin, writes codes to
 * outputs.bin, and the instructions and stack bytes of the first run to counts.bin, all on the host
 * through semihosting. */
#include <stdint.h>
#include <string.h>

#include "network.h"

#if defined(__riscv)
#define MOVE_STACK_POINTER "mv %0, sp"
#else
#define MOVE_STACK_POINTER "mov %0, sp"
#endif

intptr_t semihost(intptr_t operation, void* block);
uint32_t instructions(void); /* executed so far, modulo 2^32 or what the counter holds */
extern uint32_t stack_bottom[];

static intptr_t open_file(const char* name, intptr_t mode) {
  intptr_t block[3];
  block[0] = (intptr_t)name;
  block[1] = mode;
  block[2] = (intptr_t)strlen(name);
  return semihost(1, block);
}

static intptr_t transfer(intptr_t operation, intptr_t file, void* data, intptr_t bytes) {
  intptr_t block[3];
  block[0] = file;
  block[1] = (intptr_t)data;
  block[2] = bytes;
  return semihost(operation, block); /* bytes that were not transferred */
}

/* Where samples go, and one inference. */
#if defined(NETWORK_INPUT_0_ROWS)
static int8_t image[NETWORK_INPUT_0_BYTES];

static int8_t* input_of(int32_t index) { return index == 0 ? image : 0; }

static void infer(void) {
  const int8_t* row = image;
  do {
    memcpy(network_input_row(), row, NETWORK_INPUT_0_ROW_BYTES);
    row += NETWORK_INPUT_0_ROW_BYTES;
  } while (network_feed() > 0);
}
#else
#define input_of network_input
#define infer network_run
#endif

/* Paints the free stack, runs, and looks how far down the paint is gone. */
static uint32_t stack_bytes(void) {
  uint32_t* top;
  volatile uint32_t* at;
  __asm__ volatile(MOVE_STACK_POINTER : "=r"(top));
  for (at = stack_bottom; at < top; ++at) *at = 0xA5A5A5A5u;
  infer();
  for (at = stack_bottom; at < top && *at == 0xA5A5A5A5u; ++at) {
  }
  return (uint32_t)((uintptr_t)top - (uintptr_t)at);
}

int main(void) {
  const intptr_t in = open_file("inputs.bin", 1);
  const intptr_t out = open_file("outputs.bin", 5);
  const intptr_t report = open_file("counts.bin", 5);
  uint32_t counts[2];
  int32_t first = 1, i;
  for (;;) {
    for (i = 0; i < NETWORK_INPUTS; ++i) {
      static const int32_t bytes[] = {INPUT_BYTES};
      if (transfer(6, in, input_of(i), bytes[i]) != 0) {
        transfer(5, report, counts, sizeof counts);
        return 0;
      }
    }
    if (first) {
      static int8_t saved[NETWORK_INPUT_0_BYTES];
      memcpy(saved, input_of(0), NETWORK_INPUT_0_BYTES);
      counts[1] = stack_bytes();
      memcpy(input_of(0), saved, NETWORK_INPUT_0_BYTES);
      counts[0] = instructions();
      infer();
      counts[0] = instructions() - counts[0];
      first = 0;
    } else {
      infer();
    }
    for (i = 0; i < NETWORK_OUTPUTS; ++i) {
      static const int32_t bytes[] = {OUTPUT_BYTES};
      transfer(5, out, (void*)network_output(i), bytes[i]);
    }
  }
}
