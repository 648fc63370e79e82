/* pair.c: functions of two bytes for any CPU. */
#include "pair.h"

ck_status ck_q8_add__scalar(const void *params, char *const *bases) {
    one_by_one(params, bases, 0, sum_of);
    return CK_OK;
}

ck_status ck_q8_mul__scalar(const void *params, char *const *bases) {
    one_by_one(params, bases, 0, product_of);
    return CK_OK;
}
