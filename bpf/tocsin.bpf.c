/* All groups in one object. The loader leaves out the programs and rings that nobody asked for.
 *
 * The licence is one the kernel lets call bpf_probe_read_user; it is that of these files alone. */

#include "net.bpf.c"
#include "mempool.bpf.c"
#include "validation.bpf.c"
#include "utxocache.bpf.c"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
