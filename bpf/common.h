/* What every group of tracepoints needs: rings, counters of what they could not take, and reads from the node. */
#ifndef TOCSIN_COMMON_H
#define TOCSIN_COMMON_H

#include "records.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

/* The counters, one for each ring. Those of the payload rings count payloads alone: the message itself then goes to the
 * ring of small ones. */
enum drop {
	DROP_MESSAGES = 0,
	DROP_MEDIUM_PAYLOADS = 1,
	DROP_LARGE_PAYLOADS = 2,
	DROP_HUGE_PAYLOADS = 3,
	DROP_CONNECTIONS = 4,
	DROP_MEMPOOL = 5,
	DROP_VALIDATION = 6,
	DROP_UTXOCACHE = 7,
	DROPS = 8,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROPS);
	__type(key, u32);
	__type(value, u64);
} drops SEC(".maps");

/* The loader sets the sizes; these are the least. */
#define RING(name)					\
	struct {					\
		__uint(type, BPF_MAP_TYPE_RINGBUF);	\
		__uint(max_entries, 4096);		\
	} name SEC(".maps")

static __always_inline void count_drop(u32 which)
{
	u64 *count = bpf_map_lookup_elem(&drops, &which);

	/* Another program may run on this CPU in between: some kernels let uprobe programs be preempted. */
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* A record in `ring`, or NULL with the drop counted. Its content is whatever was there before. */
#define RESERVE(ring, type, drop) ({				\
	type *_r = bpf_ringbuf_reserve(&ring, sizeof(type), 0);	\
	if (!_r)						\
		count_drop(drop);				\
	_r;							\
})

/* The reader looks every few milliseconds by itself, so the node's thread need not wake it. */
#define SUBMIT(record) bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP)

static __always_inline void begin(struct head *head, u16 kind)
{
	head->at = bpf_ktime_get_ns();
	head->kind = kind;
	head->unread = 0;
	head->captured = 0;
}

/* Text of the node, cut to the room there is. If it cannot be read it is empty, never what an older record left. */
static __always_inline void read_text(struct head *head, char *into, u32 room, const void *from, u16 unread)
{
	if (bpf_probe_read_user_str(into, room, from) < 0) {
		into[0] = 0;
		head->unread |= unread;
	}
}

/* A hash of the node; zeros if it cannot be read (the kernel clears the place then). */
static __always_inline void read_hash(struct head *head, u8 *into, const void *from)
{
	if (bpf_probe_read_user(into, HASH_BYTES, from)) {
		__builtin_memset(into, 0, HASH_BYTES);
		head->unread |= UNREAD_HASH;
	}
}

#endif
