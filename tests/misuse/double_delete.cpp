// An object from operator new is deleted twice.
#include "misuse.h"

#include <new>

int main() {
  void *object = hide(::operator new(64));
  void *same = hide(object);
  ::operator delete(object);
  ::operator delete(same);
  return finished();
}
