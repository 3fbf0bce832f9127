#include "machine/memory_limit.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace nebula::machine {
namespace {

// A tree of files as /proc and /sys show them, in a folder that goes with it.
class Fixture {
 public:
  Fixture() : root_(std::filesystem::temp_directory_path() / ("nebula-machine-" + std::to_string(getpid()))) {
    std::filesystem::remove_all(root_);
    write("/proc/meminfo", "MemFree:        1 kB\nMemTotal:       16384000 kB\n");
  }
  ~Fixture() { std::filesystem::remove_all(root_); }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.string() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void version2(const std::string& group, const std::string& mount_root = "/") {
    write("/proc/self/cgroup", "0::" + group + "\n");
    write("/proc/self/mountinfo", "22 1 0:5 / /proc rw - proc proc rw\n30 23 0:26 " + mount_root +
                                      " /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n");
  }
  void version1(const std::string& group) {
    write("/proc/self/cgroup", "11:cpu,cpuacct:" + group + "\n5:memory:" + group + "\n0::/unrelated\n");
    write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                                  "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  }
  [[nodiscard]] std::string root() const { return root_.string(); }
  [[nodiscard]] MemoryLimit limit() const { return memory_limit(root().c_str()); }

 private:
  std::filesystem::path root_;
};

constexpr std::uint64_t kMachine = std::uint64_t{16384000} * 1024;

TEST(MemoryLimit, WithoutControlGroupsItIsTheMachines) {
  const Fixture fixture;
  EXPECT_EQ(fixture.limit().bytes, kMachine);
  EXPECT_FALSE(fixture.limit().by_control_group);
}

TEST(MemoryLimit, WithoutProcThereIsNone) { EXPECT_EQ(memory_limit("/nowhere").bytes, kUnlimited); }

TEST(MemoryLimit, TheSmallestAncestorOfVersion2) {
  Fixture fixture;
  fixture.version2("/pod/container");
  fixture.write("/sys/fs/cgroup/pod/container/memory.max", "max\n");
  EXPECT_EQ(fixture.limit().bytes, kMachine);
  fixture.write("/sys/fs/cgroup/pod/memory.max", "1073741824\n");
  EXPECT_EQ(fixture.limit().bytes, 1u << 30);
  EXPECT_TRUE(fixture.limit().by_control_group);
  fixture.write("/sys/fs/cgroup/pod/container/memory.max", "536870912\n");
  fixture.write("/sys/fs/cgroup/pod/container/memory.current", "123456\n");
  EXPECT_EQ(fixture.limit().bytes, 1u << 29);
  const std::string root = fixture.root();
  EXPECT_EQ(group_use(root.c_str()).used, 123456u);
  EXPECT_EQ(group_use(root.c_str()).limit, 1u << 29);
  fixture.write("/sys/fs/cgroup/pod/container/memory.max", "268435456\n");
  EXPECT_EQ(fixture.limit().bytes, 1u << 28) << "a limit that changes is seen";
}

TEST(MemoryLimit, ALimitAboveTheMachineIsTheMachine) {
  Fixture fixture;
  fixture.version2("/pod");
  fixture.write("/sys/fs/cgroup/pod/memory.max", "99999999999999\n");
  EXPECT_EQ(fixture.limit().bytes, kMachine);
}

TEST(MemoryLimit, Version1AndItsWayToSayNone) {
  Fixture fixture;
  fixture.version1("/docker/abc");
  fixture.write("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(fixture.limit().bytes, kMachine);
  fixture.write("/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "2147483648\n");
  fixture.write("/sys/fs/cgroup/memory/docker/memory.usage_in_bytes", "7\n");
  EXPECT_EQ(fixture.limit().bytes, std::uint64_t{2} << 30);
  const std::string root = fixture.root();
  EXPECT_EQ(group_use(root.c_str()).used, 7u);
}

// A container whose mount point shows its own group and nothing above.
TEST(MemoryLimit, AMountOfTheGroupItself) {
  Fixture fixture;
  fixture.version2("/docker/abc", "/docker/abc");
  fixture.write("/sys/fs/cgroup/memory.max", "1048576\n");
  EXPECT_EQ(fixture.limit().bytes, 1u << 20);
}

TEST(MemoryLimit, AGroupOutsideOfWhatIsMounted) {
  Fixture fixture;
  fixture.version2("/../other");
  fixture.write("/sys/fs/cgroup/memory.max", "1048576\n");
  EXPECT_EQ(fixture.limit().bytes, 1u << 20) << "what can be seen counts";
}

TEST(MemoryLimit, FilesThatMakeNoSense) {
  Fixture fixture;
  fixture.version2("/pod");
  for (const char* text : {"", "\n", "-5\n", "12x\n", "99999999999999999999999999\n"}) {
    fixture.write("/sys/fs/cgroup/pod/memory.max", text);
    EXPECT_EQ(fixture.limit().bytes, kMachine) << text;
  }
  fixture.write("/proc/self/mountinfo", std::string(5000, 'x') + "\n" + "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
  fixture.write("/sys/fs/cgroup/pod/memory.max", "4096\n");
  EXPECT_EQ(fixture.limit().bytes, 4096u) << "behind a line longer than the room, and without a newline";
  fixture.write("/proc/self/cgroup", "garbage");
  EXPECT_EQ(fixture.limit().bytes, kMachine);
}

TEST(MemoryLimit, PressureOfMachineAndGroup) {
  Fixture fixture;
  const std::string root = fixture.root();
  EXPECT_EQ(stalled_microseconds(PressureOf::kMachine, root.c_str()), kUnlimited);
  fixture.write("/proc/pressure/memory", "some avg10=1.50 avg60=0.00 avg300=0.00 total=123456\n"
                                         "full avg10=0.00 avg60=0.00 avg300=0.00 total=99\n");
  EXPECT_EQ(stalled_microseconds(PressureOf::kMachine, root.c_str()), 123456u);
  fixture.version2("/pod");
  fixture.write("/sys/fs/cgroup/pod/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=77\n");
  EXPECT_EQ(stalled_microseconds(PressureOf::kControlGroup, root.c_str()), 77u);
}

TEST(MemoryLimit, TheRealMachineHasSome) {
  const MemoryLimit limit = memory_limit();
  EXPECT_GT(limit.bytes, std::uint64_t{64} << 20);
  EXPECT_LT(limit.bytes, std::uint64_t{1} << 50);
}

}  // namespace
}  // namespace nebula::machine
