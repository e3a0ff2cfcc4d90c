/* Start of QEMU's RISC-V board "virt": stack, counters, semihosting. */
#include <stdint.h>
#include <string.h>

extern uint32_t bss_start[], bss_end[];
int main(void);
void start(void);
void enter(void);

__attribute__((naked, section(".start"))) void start(void) {
  __asm__ volatile(
      ".option push\n\t.option norelax\n\tla sp, stack_top\n\t.option pop\n\t"
      "j enter");
}

intptr_t semihost(intptr_t operation, void* block) {
  register intptr_t a0 __asm__("a0") = operation;
  register void* a1 __asm__("a1") = block;
  __asm__ volatile(
      ".option push\n\t.option norvc\n\t.balign 16\n\t"
      "slli x0, x0, 0x1f\n\tebreak\n\tsrai x0, x0, 7\n\t.option pop"
      : "+r"(a0)
      : "r"(a1)
      : "memory");
  return a0;
}

uint32_t instructions(void) {
  uint32_t count;
  __asm__ volatile(
      ".option push\n\t.option arch, +zicsr\n\tcsrr %0, minstret\n\t.option pop"
      : "=r"(count));
  return count;
}

void enter(void) {
  intptr_t block[2];
  memset(bss_start, 0, (size_t)((char*)bss_end - (char*)bss_start));
  block[1] = main();
  block[0] = 0x20026;
  semihost(0x20, block);
  for (;;) {
  }
}
