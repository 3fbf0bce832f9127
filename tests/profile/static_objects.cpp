// A C++ program whose static objects own memory until their destructors run: nothing of it is left. With an argument, so many
// strings are left, too.
#include <cstdlib>
#include <iostream>
#include <locale>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::map<int, std::string> words;
std::vector<std::string> lines(100, std::string(200, 'x'));
thread_local std::vector<int> numbers(1000, 1);

std::string* volatile left = nullptr;

}  // namespace

int main(int count, char** arguments) {
  static std::vector<int> more(5000, 2);
  for (int i = 0; i < 1000; ++i) words[i] = std::string(static_cast<std::size_t>(i), 'y');
  try {
    throw std::runtime_error("caught");
  } catch (const std::exception& error) {
    std::cout << error.what() << ' ' << numbers.size() + more.size() << std::endl;
  }
  if (count > 1)
    for (int i = std::atoi(arguments[1]); i > 0; --i) left = new std::string(500, 'z');
}
