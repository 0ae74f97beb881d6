// Runs the kernels on the CPU: see emulate.h. A kernel that would hang or race at a barrier on a device ends the
// process here, with the kernel's name.
#include "emulate.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

namespace emulator {
namespace {

constexpr size_t STACK = 256 * 1024;
constexpr unsigned WARP = 32;

enum class State : uint8_t { Fresh, Ready, AtBlock, AtWarp, Done };

using Entry = void (*)(void**);

// A stack of its own that threads run on, one after the other.
struct Fiber {
    ucontext_t context;
    jmp_buf resume;
    char* stack = nullptr;
    bool started = false;
};

struct Thread {
    Fiber* fiber = nullptr;
    State state = State::Fresh;
    int line = 0;
    unsigned exchanges = 0;
};

// The block that a thread of the operating system emulates.
struct Machine {
    Place place{};
    const char* kernel = "";
    Entry entry = nullptr;
    void** arguments = nullptr;
    std::vector<char> shared;
    std::vector<Thread> threads;
    std::vector<Words> words;  // of each warp two rounds of those of its threads
    std::vector<Fiber*> idle;
    Thread* running = nullptr;
    jmp_buf scheduler;

    ~Machine() {
        for (Fiber* fiber : idle) {
            std::free(fiber->stack);
            delete fiber;
        }
    }
};

thread_local Machine machine;

[[noreturn]] void fail(const char* what, int line) {
    std::fprintf(stderr, "emulated kernel %s: %s (line %d)\n", machine.kernel, what, line);
    std::abort();
}

void run_fiber() {
    for (;;) {
        Thread* thread = machine.running;
        machine.entry(machine.arguments);
        thread->state = State::Done;
        if (_setjmp(thread->fiber->resume) == 0) _longjmp(machine.scheduler, 1);
    }
}

void start(Thread& thread) {
    if (machine.idle.empty()) {
        machine.idle.push_back(new Fiber);
        machine.idle.back()->stack = static_cast<char*>(std::malloc(STACK));
        if (machine.idle.back()->stack == nullptr) fail("no memory for a stack", 0);
    }
    thread.fiber = machine.idle.back();
    machine.idle.pop_back();
}

// Runs a thread up to where it waits or ends.
void step(Thread& thread, unsigned index) {
    machine.place.thread = {index, 0, 0};
    machine.running = &thread;
    if (_setjmp(machine.scheduler) == 0) {
        Fiber* fiber = thread.fiber;
        if (fiber->started) _longjmp(fiber->resume, 1);
        fiber->started = true;
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = fiber->stack;
        fiber->context.uc_stack.ss_size = STACK;
        fiber->context.uc_link = nullptr;
        makecontext(&fiber->context, run_fiber, 0);
        setcontext(&fiber->context);
    }
    if (thread.state == State::Done) machine.idle.push_back(thread.fiber);
}

void wait(State state, int line) {
    Thread* thread = machine.running;
    thread->state = state;
    thread->line = line;
    if (_setjmp(thread->fiber->resume) == 0) _longjmp(machine.scheduler, 1);
}

// Lets the threads from `first` on go if all of them wait alike. Returns whether they do.
bool release(size_t first, size_t end, State state) {
    for (size_t i = first; i < end; ++i) {
        if (machine.threads[i].state != state) return false;
        if (machine.threads[i].line != machine.threads[first].line)
            fail("threads wait at different barriers", machine.threads[i].line);
    }
    for (size_t i = first; i < end; ++i) machine.threads[i].state = State::Ready;
    return true;
}

void run_block() {
    size_t count = machine.threads.size();
    for (Thread& thread : machine.threads) thread = Thread{};
    std::memset(machine.shared.data(), 0xff, machine.shared.size());
    // Threads run now up, now down between barriers, so that what only one order of them computes is found.
    for (bool down = machine.place.block.x % 2 != 0;; down = !down) {
        size_t done = 0;
        for (size_t n = 0; n < count; ++n) {
            size_t i = down ? count - 1 - n : n;
            Thread& thread = machine.threads[i];
            if (thread.state == State::Fresh) {
                start(thread);
                thread.state = State::Ready;
            }
            if (thread.state == State::Ready) step(thread, static_cast<unsigned>(i));
            done += thread.state == State::Done;
        }
        if (done == count) return;
        bool released = release(0, count, State::AtBlock);
        for (size_t warp = 0; warp < count; warp += WARP)
            released |= release(warp, warp + WARP < count ? warp + WARP : count, State::AtWarp);
        if (!released) fail("some threads wait for others that have ended or wait elsewhere", 0);
    }
}

}  // namespace

Place& place() { return machine.place; }

void* shared_memory() {
    uintptr_t at = reinterpret_cast<uintptr_t>(machine.shared.data());
    return reinterpret_cast<void*>((at + 15) & ~uintptr_t{15});
}

void block_barrier(int line) { wait(State::AtBlock, line); }

const Words* share(const Words& own, int line) {
    Thread* thread = machine.running;
    size_t index = machine.place.thread.x;
    size_t warp = index / WARP * WARP;
    if (warp + WARP > machine.threads.size()) fail("a shuffle needs whole warps", line);
    // Two rounds: who is late reads the words of the last one while others write those of the next.
    Words* words = machine.words.data() + warp * 2 + (thread->exchanges++ & 1) * WARP;
    words[index % WARP] = own;
    wait(State::AtWarp, line);
    return words;
}

uint64_t exchange(uint64_t value, unsigned lane, int line) {
    if (lane >= WARP) fail("there is no such thread in a warp", line);
    return share({{value, 0, 0}}, line)[lane].of[0];
}

}  // namespace emulator

#include "../kernels/all.cuh"

namespace {

struct Kernel {
    const char* name;
    emulator::Entry entry;
    size_t arguments;
};

template <auto function>
struct Call;

template <class... Types, void (*function)(Types...)>
struct Call<function> {
    static constexpr size_t COUNT = sizeof...(Types);

    template <size_t... at>
    static void spread(void** arguments, std::index_sequence<at...>) {
        function(*static_cast<std::remove_const_t<Types>*>(arguments[at])...);
    }

    static void entry(void** arguments) { spread(arguments, std::index_sequence_for<Types...>{}); }
};

const Kernel KERNELS[] = {
#define ENTRY(name) {#name, &Call<&name>::entry, Call<&name>::COUNT},
#include "../kernels/names.def"
#undef ENTRY
};

}  // namespace

// Runs a kernel on every block of a grid. Returns 0, or 1 if there is no kernel of this name, or 2 if it takes
// another number of arguments.
extern "C" int gstore_emulate(const char* name, const unsigned* grid, unsigned threads, size_t shared, void** arguments,
                              size_t count) {
    using emulator::machine;
    for (const Kernel& kernel : KERNELS) {
        if (std::strcmp(kernel.name, name) != 0) continue;
        if (kernel.arguments != count) return 2;
        machine.kernel = kernel.name;
        machine.entry = kernel.entry;
        machine.arguments = arguments;
        machine.shared.resize(shared + 16);
        machine.threads.resize(threads);
        machine.words.resize(2 * ((threads + 31) / 32) * 32);
        machine.place.blocks = {grid[0], grid[1], grid[2]};
        machine.place.threads = threads;
        for (unsigned z = 0; z < grid[2]; ++z)
            for (unsigned y = 0; y < grid[1]; ++y)
                for (unsigned x = 0; x < grid[0]; ++x) {
                    machine.place.block = {x, y, z};
                    emulator::run_block();
                }
        return 0;
    }
    return 1;
}
