#include "on_cpu/symbols.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string_view>
#include <unordered_map>

namespace genimg::cuda_on_cpu {
namespace {

struct Symbol {
  std::string_view name;
  char* address;
  size_t bytes;
  bool function;
};

// A library's or program's own file, and where it was loaded.
class Image {
 public:
  explicit Image(const void* address_inside);
  const std::vector<Symbol>& symbols() const { return symbols_; }
  bool has_data_at(const char* address) const { return data_begin_ <= address && address < data_end_; }
  bool has(const char* address) const { return begin_ <= address && address < end_; }
  size_t offset_of(const char* address) const { return static_cast<size_t>(address - base_); }

 private:
  template <typename T>
  const T* at(size_t offset) const {
    return reinterpret_cast<const T*>(file_.data() + offset);
  }
  void read_symbols(const Elf64_Ehdr& header);
  void find_segments(const Elf64_Ehdr& header);

  std::vector<char> file_;
  char* base_ = nullptr;
  char* begin_ = nullptr;
  char* end_ = nullptr;
  char* data_begin_ = nullptr;
  char* data_end_ = nullptr;
  std::vector<Symbol> symbols_;
};

Image::Image(const void* address_inside) {
  Dl_info info;
  if (!dladdr(address_inside, &info)) return;
  std::ifstream stream(info.dli_fname, std::ios::binary);
  file_.assign(std::istreambuf_iterator<char>(stream), {});
  if (file_.size() < sizeof(Elf64_Ehdr)) return;
  const auto& header = *at<Elf64_Ehdr>(0);
  base_ = header.e_type == ET_EXEC ? nullptr : static_cast<char*>(info.dli_fbase);
  find_segments(header);
  read_symbols(header);
}

void Image::find_segments(const Elf64_Ehdr& header) {
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const auto& segment = at<Elf64_Phdr>(header.e_phoff)[i];
    if (segment.p_type != PT_LOAD) continue;
    char* begin = base_ + segment.p_vaddr;
    if (!begin_) begin_ = begin;
    end_ = begin + segment.p_memsz;
    if (!(segment.p_flags & PF_W)) continue;
    data_begin_ = begin;
    data_end_ = end_;
  }
}

void Image::read_symbols(const Elf64_Ehdr& header) {
  const auto* sections = at<Elf64_Shdr>(header.e_shoff);
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const char* names = at<char>(sections[sections[i].sh_link].sh_offset);
    const auto* table = at<Elf64_Sym>(sections[i].sh_offset);
    for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); ++s) {
      const unsigned type = ELF64_ST_TYPE(table[s].st_info);
      if (table[s].st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_OBJECT)) continue;
      symbols_.push_back({names + table[s].st_name, base_ + table[s].st_value, table[s].st_size, type == STT_FUNC});
    }
  }
}

const Image& image() {
  static const Image own(reinterpret_cast<const void*>(&kernel_symbols));
  return own;
}

std::string readable(std::string_view mangled) {
  char* text = abi::__cxa_demangle(std::string(mangled).c_str(), nullptr, nullptr, nullptr);
  if (!text) return std::string(mangled);
  std::string name = text;
  std::free(text);
  if (name.starts_with("void ")) name.erase(0, 5);
  // The parameters begin at the last "(" of depth 0 ("(anonymous namespace)" is part of the name).
  size_t end = name.size();
  for (int depth = 0; end-- > 0;) {
    depth += name[end] == ')';
    depth -= name[end] == '(';
    if (depth == 0) break;
  }
  return name.substr(0, end);
}

// A static variable of function _Z<f> is called _ZZ<f>E<variable>.
KernelSymbols find(const void* kernel) {
  KernelSymbols found{"unknown kernel", {}, 0};
  std::string prefix;
  for (const Symbol& symbol : image().symbols()) {
    if (!symbol.function || symbol.address != kernel || !symbol.name.starts_with("_Z")) continue;
    found.name = readable(symbol.name);
    prefix = "_ZZ" + std::string(symbol.name.substr(2)) + "E";
  }
  if (prefix.empty()) return found;
  for (const Symbol& symbol : image().symbols()) {
    if (symbol.function || !symbol.name.starts_with(prefix) || !image().has_data_at(symbol.address)) continue;
    found.shared.push_back({std::string(symbol.name.substr(prefix.size())), symbol.address, symbol.bytes});
    found.static_shared_bytes += symbol.bytes;
  }
  return found;
}

}  // namespace

const KernelSymbols& kernel_symbols(const void* kernel) {
  static std::unordered_map<const void*, KernelSymbols> known;
  const auto place = known.find(kernel);
  return place != known.end() ? place->second : known.emplace(kernel, find(kernel)).first->second;
}

bool in_library(const void* address) { return image().has(static_cast<const char*>(address)); }

size_t library_offset(const void* instruction) { return image().offset_of(static_cast<const char*>(instruction)); }

bool in_library_data(const void* address) { return image().has_data_at(static_cast<const char*>(address)); }

}  // namespace genimg::cuda_on_cpu
