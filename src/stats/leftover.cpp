#include "stats/leftover.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <cstring>

#include "bump/block.hpp"
#include "heap/at_rest.hpp"
#include "heap/reclaim.hpp"
#include "os/memory.hpp"
#include "profiling/room.hpp"
#include "slab/slab.hpp"
#include "spans/large.hpp"
#include "spans/sampled.hpp"
#include "stats/snapshot.hpp"

extern "C" __attribute__((weak)) int _dl_find_object(void* address, struct dl_find_object* result) noexcept;  // glibc 2.35
extern "C" __attribute__((weak)) void _ZSt15get_new_handlerv();  // of libstdc++; absent from a program without it

namespace nebula::stats {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // of the class map: it stands still under the locks

struct Object {
  Address start = 0;  // 0: none
  std::size_t bytes = 0;
  unsigned kind = 0;  // as in Leftover
  const profiling::Sample* sample = nullptr;
};

bool is(unsigned use, UnitUse what) { return use == static_cast<unsigned>(what); }

Object in_slab(UnitIndex unit, SizeClass c, Address address) {
  const UnitIndex first = slab::first_unit(unit, c);
  const Slab& slab = slab::at(first);
  const unsigned slot = slot_at(c, address - address_of_unit(first));
  if (slot >= slab.bump || (slab.bitmap[slot / 64] >> (slot % 64) & 1) != 0) return {};
  return {address_of_unit(first) + slot * slot_size(c), slot_size(c), index_of(c), nullptr};
}

Object in_block(UnitIndex unit, Address address) {
  using bump::Block;
  const Block block(unit);
  std::uint32_t start = block.granule_of(reinterpret_cast<const void*>(address));
  if (!block.is_start(start)) start = block.start_before(start);
  if (start == Block::kNone || block.is_dead(start)) return {};
  const std::uint32_t end = block.start_behind(start);  // none behind the mark
  if (end == Block::kNone) return {};
  return {address_of_unit(block.head()) + start * kGranule, (end - start) * kGranule, Leftover::kInBlocks, nullptr};
}

// The object that holds this address, if there is one.
Object object_at(Address address) {
  const std::uint64_t number = unit_of(reinterpret_cast<const void*>(address));
  if (number >= heap_map.mapped_units.load(kRelaxed)) return {};
  const auto unit = static_cast<UnitIndex>(number);
  const unsigned use = unit_use(unit).load(kRelaxed);
  if (is_size_class(use)) return in_slab(unit, size_class(use), address);
  if (is(use, UnitUse::kBump)) return in_block(unit, address);
  if (is(use, UnitUse::kSampled)) {
    const SizeClass c = sampled::class_at(unit);
    const Address start = address_of_unit(unit);
    return address - start < slot_size(c) ? Object{start, slot_size(c), index_of(c), &sampled::sample_at(unit)} : Object{};
  }
  if (!is(use, UnitUse::kLargeHead) && !is(use, UnitUse::kLargeInside)) return {};
  const UnitIndex head = large::head_of(unit);
  const Address start = address_of_unit(head);
  const std::size_t bytes = large::size_of(head);
  return address - start < bytes ? Object{start, bytes, Leftover::kLarge, &large::sample_at(head)} : Object{};
}

// The objects found so far, in the order they were found, and a hash table of them.
class Marks {
 public:
  [[nodiscard]] bool begin() {
    found_ = static_cast<Address*>(profiling::room::allocate(kMost * sizeof *found_));
    table_ = static_cast<std::uint32_t*>(profiling::room::allocate(kSlots * sizeof *table_));
    return found_ != nullptr && table_ != nullptr;
  }
  // False when it was there already, or there is no room.
  [[nodiscard]] bool add(Address start) {
    std::uint32_t& slot = table_[slot_for(start)];
    if (slot != 0 || count_ == kMost) {
      is_full_ = is_full_ || slot == 0;
      return false;
    }
    found_[count_] = start;
    slot = ++count_;
    return true;
  }
  [[nodiscard]] std::uint32_t count() const { return count_; }
  [[nodiscard]] Address at(std::uint32_t index) const { return found_[index]; }
  [[nodiscard]] bool is_full() const { return is_full_; }

 private:
  static constexpr std::uint32_t kMost = 32 * 1024;
  static constexpr std::uint32_t kSlots = 64 * 1024;
  [[nodiscard]] std::uint32_t slot_for(Address start) const {
    auto slot = static_cast<std::uint32_t>(start * 0x9e37'79b9'7f4a'7c15 >> 40) % kSlots;
    while (table_[slot] != 0 && found_[table_[slot] - 1] != start) slot = (slot + 1) % kSlots;
    return slot;
  }

  Address* found_ = nullptr;
  std::uint32_t* table_ = nullptr;  // index in found_ + 1
  std::uint32_t count_ = 0;
  bool is_full_ = false;
};

struct Words {
  Address start = 0;
  std::size_t bytes = 0;
};

// The writable data of the libraries that are looked through.
class Roots {
 public:
  // Of the module that this address lies in. Takes no lock.
  void add_module_of(const void* address) {
    dl_find_object object;
    if (address == nullptr || &_dl_find_object == nullptr || _dl_find_object(const_cast<void*>(address), &object) != 0) return;
    const auto start = reinterpret_cast<Address>(object.dlfo_map_start);
    const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(start);
    if (!os::is_readable(start) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return;
    const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(start + header.e_phoff);
    for (unsigned i = 0; i < header.e_phnum; ++i) {
      const ElfW(Phdr)& segment = segments[i];
      if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0) add({object.dlfo_link_map->l_addr + segment.p_vaddr, segment.p_memsz});
      void* of_thread = nullptr;
      if (segment.p_type == PT_TLS && dlinfo(object.dlfo_link_map, RTLD_DI_TLS_DATA, &of_thread) == 0 && of_thread != nullptr)
        add({reinterpret_cast<Address>(of_thread), segment.p_memsz});
    }
  }
  [[nodiscard]] const Words* begin() const { return words_; }
  [[nodiscard]] const Words* end() const { return words_ + count_; }

 private:
  void add(Words words) {
    if (count_ < kMost) words_[count_++] = words;
  }
  static constexpr unsigned kMost = 16;
  Words words_[kMost];
  unsigned count_ = 0;
};

class Scan {
 public:
  Scan(Leftover& result, Marks& marks) : result_(result), marks_(marks) {}

  void look_through(Words words) {
    for (Address at = (words.start + 7) & ~Address{7}; at + sizeof(Address) <= words.start + words.bytes; at += sizeof(Address)) {
      const Address word = *reinterpret_cast<const Address*>(at);
      if (!mark(word)) follow_threads(word);
    }
  }
  void follow() {
    for (std::uint32_t next = 0; next < marks_.count(); ++next) {
      const Object object = object_at(marks_.at(next));
      for (Address at = object.start; at + sizeof(Address) <= object.start + object.bytes; at += sizeof(Address))
        static_cast<void>(mark(*reinterpret_cast<const Address*>(at)));
    }
  }

 private:
  // Whether an object is there.
  bool mark(Address word) {
    const Object object = object_at(word);
    if (object.start == 0) return false;
    if (!marks_.add(object.start)) return true;
    ++result_.kept[object.kind].objects;
    result_.kept[object.kind].bytes += object.bytes;
    if (object.sample != nullptr) profiling::sites::note_kept(*object.sample);
    return true;
  }

  // The loader allocates a table for each thread and keeps it with the thread's stack, which it keeps for the next thread. Both hang
  // in glibc's lists of stacks: a link is in the thread's descriptor, whose first words are itself, the table, and itself once
  // more (x86-64's ABI has the first, glibc's tcbhead_t the others). Whatever looks different is none.
  void follow_threads(Address link) {
    constexpr Address kLinkInDescriptor = 704;
    constexpr unsigned kThreadsMost = 16 * 1024;
    const Address first = link;
    for (unsigned i = 0; i < kThreadsMost && link % 64 == 0 && link > kLinkInDescriptor; ++i) {
      const Address descriptor = link - kLinkInDescriptor;
      if (!os::is_readable(descriptor) || !os::is_readable(link)) return;
      const auto* const head = reinterpret_cast<const Address*>(descriptor);
      if (head[0] != descriptor || head[2] != descriptor) return;
      static_cast<void>(mark(head[1]));
      link = *reinterpret_cast<const Address*>(link);
      if (link == first) return;
    }
  }

  Leftover& result_;
  Marks& marks_;
};

}  // namespace

void find_leftover(Leftover& result) {
  Roots roots;
  roots.add_module_of(reinterpret_cast<const void*>(&getauxval));          // libc
  roots.add_module_of(reinterpret_cast<const void*>(getauxval(AT_BASE)));  // the loader
  roots.add_module_of(reinterpret_cast<const void*>(&_ZSt15get_new_handlerv));
  const SlowPath slow;
  if (!slow.entered()) return;
  Marks marks;
  {
    const heap::HoldGate hold;
    if (!marks.begin()) return;
  }
  const heap::AllLocks locks(kLockPatienceMilliseconds);
  if (!locks.are_held()) return;
  Scan scan(result, marks);
  for (const Words& words : roots) scan.look_through(words);
  scan.follow();
  result.is_complete = !marks.is_full();
}

}  // namespace nebula::stats
