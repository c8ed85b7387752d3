/* Transactions entering, leaving and failing to enter the mempool. */

#include "common.h"

RING(mempool);

SEC("usdt")
int BPF_USDT(mempool_added, void *txid, s32 vsize, s64 fee)
{
	struct mempool_added *r = RESERVE(mempool, struct mempool_added, DROP_MEMPOOL);

	if (!r)
		return 0;
	begin(&r->head, MEMPOOL_ADDED);
	read_hash(&r->head, r->txid, txid);
	r->fee = fee;
	r->vsize = vsize;
	r->hole = 0;
	SUBMIT(r);
	return 0;
}

SEC("usdt")
int BPF_USDT(mempool_removed, void *txid, void *reason, s32 vsize, s64 fee, u64 entry_time)
{
	struct mempool_removed *r = RESERVE(mempool, struct mempool_removed, DROP_MEMPOOL);

	if (!r)
		return 0;
	begin(&r->head, MEMPOOL_REMOVED);
	read_hash(&r->head, r->txid, txid);
	r->fee = fee;
	r->entry_time = entry_time;
	r->vsize = vsize;
	r->hole = 0;
	read_text(&r->head, r->reason, REMOVAL_BYTES, reason, UNREAD_REASON);
	SUBMIT(r);
	return 0;
}

/* The last argument came with version 29; before that only single transactions replaced others. */
SEC("usdt")
int BPF_USDT(mempool_replaced, void *old, s32 old_vsize, s64 old_fee, u64 old_entry_time, void *new, s32 new_vsize,
	     s64 new_fee, u32 by_transaction)
{
	struct mempool_replaced *r = RESERVE(mempool, struct mempool_replaced, DROP_MEMPOOL);

	if (!r)
		return 0;
	begin(&r->head, MEMPOOL_REPLACED);
	read_hash(&r->head, r->replaced, old);
	read_hash(&r->head, r->replacement, new);
	r->replaced_fee = old_fee;
	r->replaced_entry_time = old_entry_time;
	r->replacement_fee = new_fee;
	r->replaced_vsize = old_vsize;
	r->replacement_vsize = new_vsize;
	r->by_transaction = bpf_usdt_arg_cnt(ctx) < 8 || by_transaction != 0;
	r->hole = 0;
	SUBMIT(r);
	return 0;
}

SEC("usdt")
int BPF_USDT(mempool_rejected, void *txid, void *reason)
{
	struct mempool_rejected *r = RESERVE(mempool, struct mempool_rejected, DROP_MEMPOOL);

	if (!r)
		return 0;
	begin(&r->head, MEMPOOL_REJECTED);
	read_hash(&r->head, r->txid, txid);
	read_text(&r->head, r->reason, REJECT_BYTES, reason, UNREAD_REASON);
	SUBMIT(r);
	return 0;
}
