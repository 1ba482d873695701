using System.Diagnostics;
using LoraNotebooks.Tensors.Convolutions;

namespace Benchmarks;

/// <summary>
/// What the ways around a wrong kernel cost, as multiples of libtorch's own, forward and backward;
/// where that is wrong its time is shown all the same.
/// </summary>
internal static class ConvolutionSpeed
{
    private const int Rounds = 15;

    public static void Run()
    {
        var engines = Enum.GetValues<ConvolutionWay>()
            .Select(way => new ConvolutionEngine(ConvolutionWays.Native, new ConvolutionVerdicts(null), way, static _ => { }))
            .ToArray();
        ConvolutionCheck.Run(ConvolutionWays.Native);
        var clock = Stopwatch.StartNew();
        var samples = ConvolutionCheck.Run(ConvolutionWays.Native).Samples;
        Console.WriteLine($"the self-check, {samples} samples, computed once before   {clock.Elapsed.TotalMilliseconds:0.0} ms");
        Console.WriteLine(
            "case                                                                   native ms   padded   product   "
                + "(medians of forward and backward; ratios to native)");
        foreach (var sample in Cases())
        {
            // By turns, so that whatever else the machine does meets all alike.
            var times = engines.Select(static _ => new List<double>()).ToArray();
            for (var round = 0; round < Rounds; round++)
            {
                foreach (var (engine, list) in engines.Zip(times))
                {
                    using var scope = TorchSharp.torch.NewDisposeScope();
                    clock.Restart();
                    sample.Run(engine.Apply);
                    list.Add(clock.Elapsed.TotalMilliseconds);
                }
            }

            var medians = times.Select(static list => list.Skip(2).Order().ElementAt((Rounds - 2) / 2)).ToArray();
            Console.WriteLine(FormattableString.Invariant(
                $"{Text(sample),-70} {medians[0],9:0.000}   {medians[1] / medians[0],6:0.00}   {medians[2] / medians[0],7:0.00}"));
        }
    }

    private static IEnumerable<ConvolutionCase> Cases() =>
        from channelsLast in (bool[])[false, true]
        from shape in ((long Images, long In, long Out, long Side, long Kernel)[])
        [
            (2, 24, 24, 8, 3),
            (4, 24, 24, 32, 3),
            (4, 40, 40, 16, 3),
            (4, 96, 8, 16, 3),
            (4, 8, 96, 16, 1),
            (1, 320, 8, 64, 3),
            (1, 8, 320, 64, 1),
            (1, 1000, 1000, 16, 3),
        ]
        select ConvolutionCase.Square(channelsLast, shape.Images, shape.In, shape.Out, shape.Side, shape.Kernel);

    private static string Text(ConvolutionCase sample) => sample.ToString().Split(", stride")[0];
}
