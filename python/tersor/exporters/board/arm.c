/* Start of a Cortex-M board: vectors, CPACR, SysTick as a clock, semihosting. */
#include <stdint.h>
#include <string.h>

extern uint32_t stack_top[], data_start[], data_end[], data_image[], bss_start[], bss_end[];
int main(void);
void reset(void);
void fault(void);

#define REGISTER(address) (*(volatile uint32_t*)(address))

__attribute__((section(".vectors"), used)) static void* const vectors[16] = {
    stack_top, (void*)reset, (void*)fault, (void*)fault, (void*)fault,
    (void*)fault, (void*)fault, 0, 0, 0, 0, (void*)fault, (void*)fault, 0, (void*)fault,
    (void*)fault};

intptr_t semihost(intptr_t operation, void* block) {
  register intptr_t r0 __asm__("r0") = operation;
  register void* r1 __asm__("r1") = block;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static void leave(int32_t code) {
  intptr_t block[2];
  block[0] = 0x20026; /* ADP_Stopped_ApplicationExit */
  block[1] = code;
  semihost(0x20, block);
  for (;;) {
  }
}

void fault(void) { leave(99); }

static uint32_t ticks(void) { return 0xFFFFFFu - REGISTER(0xE000E018); }

static uint32_t per_thousand_ticks;

/* SysTick's rate differs from board to board: with one instruction a nanosecond, a loop of known
 * length tells how many instructions a tick is. */
static void calibrate(void) {
  uint32_t n = 2000000u, start;
  REGISTER(0xE000E014) = 0xFFFFFF;
  REGISTER(0xE000E018) = 0;
  REGISTER(0xE000E010) = 5;
  while (REGISTER(0xE000E018) == 0) {
  }
  start = ticks();
  __asm__ volatile(
      ".syntax unified\n\t"
      "1: subs %0, %0, #1\n\t"
      "bne 1b\n\t"
      : "+l"(n)::"cc");
  per_thousand_ticks = (uint32_t)(4000000ull * 1000u / (ticks() - start));
}

uint32_t instructions(void) { return (uint32_t)((uint64_t)ticks() * per_thousand_ticks / 1000u); }

void reset(void) {
#if defined(__ARM_FEATURE_MVE) || defined(__ARM_FP)
  REGISTER(0xE000ED88) |= 0xFu << 20; /* CPACR: or FPU and MVE instructions fault */
  __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
  memcpy(data_start, data_image, (size_t)((char*)data_end - (char*)data_start));
  memset(bss_start, 0, (size_t)((char*)bss_end - (char*)bss_start));
  calibrate();
  leave(main());
}
