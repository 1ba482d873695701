using System.Diagnostics;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tests.Tensors;
using static TorchSharp.torch;

namespace Benchmarks;

/// <summary>How many sums of a tensor and a number fail while other threads only collect garbage (src/README.md, "To be reported upstream").</summary>
internal static class ScalarStress
{
    public static void Run(int sums, int threads)
    {
        NativeRuntime.Load();
        Console.WriteLine($"{sums:N0} sums beside {threads} collecting threads");
        Measure("x + 2.5 (TorchSharp)", static x => x + 2.5);
        Measure("x.Plus(2.5) (library)", static x => x.Plus(2.5));

        void Measure(string name, Func<Tensor, Tensor> add)
        {
            using var scope = NewDisposeScope();
            var x = zeros(4);
            var (errors, wrong) = (0, 0);
            var clock = Stopwatch.StartNew();
            using (new Collectors(threads))
            {
                for (var i = 0; i < sums; i++)
                {
                    try
                    {
                        using var sum = add(x);
                        wrong += sum.data<float>().SequenceEqual([2.5f, 2.5f, 2.5f, 2.5f]) ? 0 : 1;
                    }
                    catch (Exception)
                    {
                        errors++;
                    }
                }
            }

            Console.WriteLine($"  {name,-22} {errors,6} errors, {wrong,6} wrong numbers, {clock.Elapsed.TotalSeconds:F0} s");
        }
    }
}
