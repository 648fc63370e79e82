/* kernels.h: the prototype of every kernel, made from its registry row. */
#ifndef CK_KERNELS_H
#define CK_KERNELS_H
#include "kernel.h"

#define KERNEL(NAME) ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases);
KERNEL(ck_f32_pack)
KERNEL(ck_q8_pack_c1)
KERNEL(ck_q8_pack_c2)
KERNEL(ck_q8_pack_c4s)
KERNEL(ck_q8_pack_c4u)
KERNEL(ck_q16_pack)
KERNEL(ck_f32_winograd_pack)

#define ROW(OP, DTYPE, ISA, MR, NR, KR, NAME, PACK) KERNEL(NAME)
#include "kernels.inc"
#undef ROW
#undef KERNEL
#endif
