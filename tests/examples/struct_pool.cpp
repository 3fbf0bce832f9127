// A pool for structs: the nodes of a tree come and go, each in a place of the pool, with no header and nothing rounded up but to its
// alignment. A node that is given back twice, or to another pool, ends the program with a line that says so.
#include <nebula/nebula.hpp>

#include <cstdio>

namespace {

struct Node {
  explicit Node(int key) : key(key) {}
  int key;
  Node* left = nullptr;
  Node* right = nullptr;
};

class Tree {
 public:
  void insert(int key) { *place_of(key) = nodes_.make(key); }

  void remove_smallest() {
    Node** place = &root_;
    while ((*place)->left != nullptr) place = &(*place)->left;
    Node* const smallest = *place;
    *place = smallest->right;
    nodes_.destroy(smallest);
  }

  [[nodiscard]] int smallest() const {
    const Node* node = root_;
    while (node->left != nullptr) node = node->left;
    return node->key;
  }
  [[nodiscard]] nebula_usage usage() const { return nodes_.usage(); }

 private:
  Node** place_of(int key) {
    Node** place = &root_;
    while (*place != nullptr) place = key < (*place)->key ? &(*place)->left : &(*place)->right;
    return place;
  }

  nebula::Pool<Node> nodes_;  // ends with the tree, and all nodes with it
  Node* root_ = nullptr;
};

}  // namespace

int main() {
  if (!nebula::is_loaded()) {
    std::puts("this example needs libnebula.so");
    return 0;
  }
  Tree tree;
  for (int i = 0; i < 1000; ++i) tree.insert(i * 7919 % 1000);
  for (int i = 0; i < 400; ++i) tree.remove_smallest();
  std::printf("the smallest is %d\n", tree.smallest());
  std::printf("%d nodes, %d bytes each\n", static_cast<int>(tree.usage().objects),
              static_cast<int>(tree.usage().used_bytes / tree.usage().objects));
}
