// Small-object arithmetic: the continued fraction of the square root of a 44-digit number, with its convergents and the
// trial division of its denominators, the first half of the factoring method of Morrison and Brillhart (1975). Every
// result of every operation is a new big number that lives for a moment. After the cfrac program in the allocation
// benchmarks of Barrett and Zorn (1993). An operation is one step of the fraction, some dozens of allocations.
#include <algorithm>
#include <utility>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kSteps = 400'000;
constexpr std::size_t kStepsToCheck = 1024;
constexpr char kComposite[] = "17545186520507317056371138836327483792789528";
constexpr std::uint32_t kPrimes[] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71};

// Not negative; digits of 32 bits, the least first, none of the last ones zero; never changed once made.
template <class Calls>
class Number {
 public:
  explicit Number(std::uint32_t value) : Number(std::size_t{1}) {
    digit(0) = value;
    trim();
  }
  Number(Number&& other) : body_(std::exchange(other.body_, nullptr)) {}
  Number& operator=(Number&& other) {
    std::swap(body_, other.body_);
    return *this;
  }
  ~Number() {
    if (body_) Calls::release(body_);
  }

  Number copy() const {
    Number other(length());
    std::copy_n(body_->digits, length(), other.body_->digits);
    return other;
  }
  bool zero() const { return length() == 0; }

  friend int compare(const Number& a, const Number& b) {
    if (a.length() != b.length()) return a.length() < b.length() ? -1 : 1;
    for (std::size_t i = a.length(); i-- > 0;)
      if (a.digit(i) != b.digit(i)) return a.digit(i) < b.digit(i) ? -1 : 1;
    return 0;
  }

  friend Number operator+(const Number& a, const Number& b) {
    Number sum((a.length() > b.length() ? a.length() : b.length()) + 1);
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < sum.length(); ++i, carry >>= 32)
      sum.digit(i) = static_cast<std::uint32_t>(carry += std::uint64_t{a.at(i)} + b.at(i));
    sum.trim();
    return sum;
  }

  friend Number operator-(const Number& a, const Number& b) {  // a >= b
    Number difference(a.length());
    std::int64_t borrow = 0;
    for (std::size_t i = 0; i < a.length(); ++i, borrow >>= 32)
      difference.digit(i) = static_cast<std::uint32_t>(borrow += std::int64_t{a.at(i)} - b.at(i));
    difference.trim();
    return difference;
  }

  friend Number operator*(const Number& a, const Number& b) {
    Number product(a.length() + b.length());
    std::fill_n(product.body_->digits, product.length(), 0u);
    for (std::size_t i = 0; i < a.length(); ++i) {
      std::uint64_t carry = 0;
      for (std::size_t j = 0; j < b.length(); ++j, carry >>= 32) {
        carry += std::uint64_t{a.digit(i)} * b.digit(j) + product.digit(i + j);
        product.digit(i + j) = static_cast<std::uint32_t>(carry);
      }
      product.digit(i + b.length()) = static_cast<std::uint32_t>(carry);
    }
    product.trim();
    return product;
  }

  friend std::uint32_t operator%(const Number& a, std::uint32_t divisor) {
    std::uint64_t rest = 0;
    for (std::size_t i = a.length(); i-- > 0;) rest = ((rest << 32) | a.digit(i)) % divisor;
    return static_cast<std::uint32_t>(rest);
  }

  friend Number operator/(const Number& a, std::uint32_t divisor) {
    Number quotient(a.length());
    std::uint64_t rest = 0;
    for (std::size_t i = a.length(); i-- > 0; rest %= divisor)
      quotient.digit(i) = static_cast<std::uint32_t>((rest = (rest << 32) | a.digit(i)) / divisor);
    quotient.trim();
    return quotient;
  }

  // By doubling and subtracting: quotients of continued fractions are small. Leaves the remainder in `a`.
  friend Number divide(Number& a, const Number& b) {
    if (compare(a, b) < 0) return Number(0u);
    Number quotient = divide(a, b + b);
    quotient = quotient + quotient;
    if (compare(a, b) < 0) return quotient;
    a = a - b;
    return quotient + Number(1u);
  }

 private:
  struct Body {
    std::size_t length;
    std::uint32_t digits[];
  };

  explicit Number(std::size_t length)
      : body_(static_cast<Body*>(Calls::allocate(sizeof(Body) + length * sizeof(std::uint32_t)))) {
    body_->length = length;
  }

  std::size_t length() const { return body_->length; }
  std::uint32_t& digit(std::size_t i) { return body_->digits[i]; }
  std::uint32_t digit(std::size_t i) const { return body_->digits[i]; }
  std::uint32_t at(std::size_t i) const { return i < length() ? digit(i) : 0; }
  void trim() {
    while (length() > 0 && digit(length() - 1) == 0) --body_->length;
  }

  Body* body_;
};

template <class Calls>
Number<Calls> square_root(const Number<Calls>& square) {
  Number<Calls> root(0u), step(1u);
  while (compare(step * step, square) <= 0) step = step + step;
  for (; !step.zero(); step = step / 2) {
    Number<Calls> longer = root + step;
    if (compare(longer * longer, square) <= 0) root = std::move(longer);
  }
  return root;
}

template <class Calls>
void expand(std::size_t steps) {
  using N = Number<Calls>;
  N composite(0u);
  for (const char* digit = kComposite; *digit; ++digit)
    composite = composite * N(10u) + N(static_cast<std::uint32_t>(*digit - '0'));
  const N root = square_root(composite);

  // (root + p) / q is what is left of the fraction; convergent * convergent = (-1)^step * q, modulo composite.
  N p(0u), q(1u), q_before(composite.copy()), convergent(1u), convergent_before(0u);
  for (std::size_t step = 0; step < steps; ++step) {
    N rest = root + p;
    const N quotient = divide(rest, q);
    N p_next = root - rest;
    N q_next = compare(p, p_next) >= 0 ? q_before + quotient * (p - p_next) : q_before - quotient * (p_next - p);
    N convergent_next = quotient * convergent + convergent_before;
    divide(convergent_next, composite);
    q_before = std::exchange(q, std::move(q_next));
    p = std::move(p_next);
    convergent_before = std::exchange(convergent, std::move(convergent_next));

    N cofactor = q.copy();
    for (const std::uint32_t prime : kPrimes)
      while (!cofactor.zero() && cofactor % prime == 0) cofactor = cofactor / prime;

    if (step % kStepsToCheck != 0) continue;
    N square = convergent * convergent;
    divide(square, composite);
    const N expected = step % 2 == 0 ? composite - q : q.copy();
    if (compare(square, expected) != 0) fail("step %zu of the fraction is wrong: a number was overwritten", step);
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const std::size_t steps = options.scaled(kSteps);
  report.start_clock();
  expand<Calls>(steps);
  report.stop_clock(steps);
}

constexpr Variant kVariants[] = {{"cfrac", ""}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "cfrac", .variants = kVariants, .plain = run<PlainCalls>, .timed = run<TimedCalls>});
}
