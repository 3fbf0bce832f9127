#include "profiling/output.hpp"

#include <cstring>

namespace nebula::profiling {
namespace {

constexpr std::size_t kBufferBytes = 16 * 1024;
constinit char buffer[kBufferBytes];

// CRC-32 of ISO 3309, four bits at a time.
std::uint32_t add_to_checksum(std::uint32_t checksum, std::string_view bytes) {
  static constexpr struct Table {
    std::uint32_t rest[16];
    consteval Table() : rest() {
      for (std::uint32_t i = 0; i < 16; ++i) {
        rest[i] = i;
        for (int bit = 0; bit < 4; ++bit) rest[i] = rest[i] >> 1 ^ ((rest[i] & 1) != 0 ? 0xedb8'8320u : 0);
      }
    }
  } kTable;
  for (const char byte : bytes) {
    checksum ^= static_cast<std::uint8_t>(byte);
    checksum = checksum >> 4 ^ kTable.rest[checksum & 15];
    checksum = checksum >> 4 ^ kTable.rest[checksum & 15];
  }
  return checksum;
}

template <class Number>
std::string_view bytes_of(const Number& number) {  // little-endian, as gzip and this machine have it
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

}  // namespace

Output::Output(Text& text, Wrapping wrapping) : text_(text), wrapping_(wrapping) {
  // Deflate, no name, no time, made on Unix.
  constexpr std::string_view kHeader("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  if (wrapping_ == Wrapping::kGzip) text_ << kHeader;
}

void Output::write(std::string_view bytes) {
  if (wrapping_ == Wrapping::kNone) {
    text_ << bytes;
    return;
  }
  while (!bytes.empty()) {
    if (used_ == kBufferBytes) flush(Block::kMore);
    const std::size_t part = bytes.size() < kBufferBytes - used_ ? bytes.size() : kBufferBytes - used_;
    std::memcpy(buffer + used_, bytes.data(), part);
    used_ += part;
    bytes.remove_prefix(part);
  }
}

void Output::finish() {
  if (wrapping_ == Wrapping::kNone) return;
  flush(Block::kLast);
  text_ << bytes_of(~checksum_) << bytes_of(length_);
}

void Output::flush(Block block) {
  const std::string_view bytes(buffer, used_);
  const auto size = static_cast<std::uint16_t>(used_);
  const auto complement = static_cast<std::uint16_t>(~size);
  text_ << (block == Block::kLast ? '\1' : '\0') << bytes_of(size) << bytes_of(complement) << bytes;
  checksum_ = add_to_checksum(checksum_, bytes);
  length_ += static_cast<std::uint32_t>(used_);
  used_ = 0;
}

}  // namespace nebula::profiling
