// A profile on its way out, into a Text that goes into a file: plain, or in gzip's wrapping (RFC 1952) with blocks that are stored,
// not compressed (RFC 1951, 3.2.4), which every reader of gzip takes. One at a time: the room for a block is static.
#pragma once

#include <cstdint>
#include <string_view>

#include "diag/text.hpp"

namespace nebula::profiling {

class Output {
 public:
  enum class Wrapping { kNone, kGzip };
  Output(Text& text, Wrapping wrapping);

  void write(std::string_view bytes);
  void finish();

 private:
  enum class Block { kMore, kLast };
  void flush(Block block);

  Text& text_;
  const Wrapping wrapping_;
  std::size_t used_ = 0;
  std::uint32_t checksum_ = ~std::uint32_t{0};
  std::uint32_t length_ = 0;  // modulo 2^32, as gzip has it
};

}  // namespace nebula::profiling
