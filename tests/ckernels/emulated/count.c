/* count.c: a plugin of qemu-user that counts what `ck_run` executes, with all that it calls, and nothing else.
 *
 * Arguments: begin and end, the addresses of ck_run, and out, a file. At the end of every program that ran it
 * gets a line: instructions, products of floats, of s16, of bytes by fours, loads, stores. The API is version 1
 * (qemu 6 to 8), for which Debian has no header: what is used of it is declared here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
typedef struct qemu_plugin_tb block;
typedef struct qemu_plugin_insn instruction;
typedef void (*on_translation)(plugin_id id, block *translated);
typedef void (*on_execution)(unsigned cpu, void *given);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, on_translation);
void qemu_plugin_register_vcpu_tb_exec_cb(block *translated, on_execution, int flags, void *given);
size_t qemu_plugin_tb_n_insns(const block *translated);
instruction *qemu_plugin_tb_get_insn(const block *translated, size_t at);
const void *qemu_plugin_insn_data(const instruction *of);
uint64_t qemu_plugin_insn_vaddr(const instruction *of);

enum { INSTRUCTIONS, FLOATS, HALVES, BYTES, LOADS, STORES, KINDS };

/* Of a block: its instructions by kind, and whether it enters or leaves ck_run. */
typedef struct {
    uint64_t count[KINDS];
    int enters, leaves;
} counts;

int qemu_plugin_version = 1;
static uint64_t begin, end, total[KINDS];
static int depth; /* of calls of ck_run: a step may run steps */
static FILE *out;

static int is(uint32_t code, uint32_t mask, uint32_t value) { return (code & mask) == value; }

/* FMLA of vectors, by vectors and by a lane; FMADD. */
static int of_floats(uint32_t code) {
    return is(code, 0xbfa0fc00, 0x0e20cc00) || is(code, 0xbf80f400, 0x0f801000) || is(code, 0xff208000, 0x1f000000);
}

/* SMLAL and UMLAL, by vectors and by a lane. */
static int of_halves(uint32_t code) { return is(code, 0x9f20fc00, 0x0e208000) || is(code, 0x9f00f400, 0x0f002000); }

/* SDOT, by vectors and by a lane. */
static int of_bytes(uint32_t code) { return is(code, 0xbf20fc00, 0x0e009400) || is(code, 0xbf00f400, 0x0f00e000); }

/* Of an instruction that reads or writes memory: a literal, a general register, or one in which bit 22 says it. */
static int is_load(uint32_t code) {
    if (is(code, 0x3b000000, 0x18000000)) return 1;
    if (is(code, 0x3c000000, 0x38000000)) return (code >> 22 & 3) != 0;
    return code >> 22 & 1;
}

static void executed(unsigned cpu, void *given) {
    const counts *of = given;
    (void)cpu;
    depth += of->enters;
    for (int kind = 0; depth && kind < KINDS; kind++) total[kind] += of->count[kind];
    if (!of->leaves || --depth) return;
    for (int kind = 0; kind < KINDS; kind++) fprintf(out, "%llu ", (unsigned long long)total[kind]);
    fprintf(out, "\n"), fflush(out);
    memset(total, 0, sizeof total);
}

static void translated(plugin_id id, block *fresh) {
    counts *of = calloc(1, sizeof *of); /* lives as long as the process: the block may run until then */
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(fresh); i++) {
        instruction *at = qemu_plugin_tb_get_insn(fresh, i);
        const uint64_t address = qemu_plugin_insn_vaddr(at);
        uint32_t code;
        memcpy(&code, qemu_plugin_insn_data(at), sizeof code);
        of->enters |= address == begin;
        of->leaves |= address >= begin && address < end && code == 0xd65f03c0; /* RET */
        of->count[INSTRUCTIONS]++;
        of->count[FLOATS] += (uint64_t)of_floats(code);
        of->count[HALVES] += (uint64_t)of_halves(code);
        of->count[BYTES] += (uint64_t)of_bytes(code);
        if (is(code, 0x0a000000, 0x08000000)) of->count[is_load(code) ? LOADS : STORES]++;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(fresh, executed, 0, of);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=') + 1;
        if (strncmp(argv[i], "begin=", 6) == 0) begin = strtoull(value, NULL, 16);
        else if (strncmp(argv[i], "end=", 4) == 0) end = strtoull(value, NULL, 16);
        else out = fopen(value, "w");
    }
    if (!out) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
