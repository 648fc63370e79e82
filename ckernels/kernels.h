/* kernels.h: the prototype of every kernel, made from its registry row. */
#ifndef CK_KERNELS_H
#define CK_KERNELS_H
#include "kernel.h"

void ck_f32_pack(const void *params, int32_t nr, char *const *bases);
void ck_q8_pack_c1(const void *params, int32_t nr, char *const *bases);
void ck_q8_pack_c2(const void *params, int32_t nr, char *const *bases);
void ck_q8_pack_c4s(const void *params, int32_t nr, char *const *bases);
void ck_q8_pack_c4t(const void *params, int32_t nr, char *const *bases);
void ck_q8_pack_c4u(const void *params, int32_t nr, char *const *bases);
void ck_f32_winograd_pack(const void *params, int32_t nr, char *const *bases);
void ck_q16_pack(const void *params, int32_t nr, char *const *bases);

#define ROW(OP, DTYPE, ISA, MR, NR, KR, NAME, PACK) ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases);
#include "kernels.inc"
#undef ROW
#endif
