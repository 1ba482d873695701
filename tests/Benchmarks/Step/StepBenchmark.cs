using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using LoraNotebooks.Tensors;
using static TorchSharp.torch;

namespace Benchmarks.Step;

/// <summary>
/// How fast a LoRA step and a prediction are: in seconds, as a share of what the fastest kernels would allow, measured alone in the same run,
/// and beside another version of the library.
/// </summary>
internal static class StepBenchmark
{
    private const int Rounds = 5;

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    /// <summary>The embedded base in all its cases, and Stable Diffusion 1.5 at 256 and 512 pixels: what two processors do in some minutes.</summary>
    public static IEnumerable<StepCase> Usual =>
    [
        .. from layers in (string[])["attention", "all"] from batch in (int[])[1, 4] select new StepCase("base", 64, "fp32", layers, batch),
        .. from pixels in (int[])[256, 512] from type in (string[])["fp32", "bf16"] select new StepCase("sd15", pixels, type, "attention", 1),
    ];

    /// <summary>The usual cases of some models, or one of each model that is too large for usual, with other settings where there are some.</summary>
    /// <param name="option">The values of an option by its name, if it is given.</param>
    public static IReadOnlyList<StepCase> Cases(Func<string, string[]?> option)
    {
        StepCase[] known = [.. Usual, new("xl", 512, "bf16", "attention", 1)];
        var models = option("--model") ?? [.. Usual.Select(static of => of.Model).Distinct()];
        return
        [
            .. (from of in known
                where models.Contains(of.Model)
                from pixels in Numbers("--size") ?? [of.Pixels]
                from type in option("--dtype") ?? [of.Type]
                from layers in option("--layers") ?? [of.Layers]
                from batch in Numbers("--batch") ?? [of.Batch]
                select new StepCase(of.Model, pixels, type, layers, batch)).Distinct(),
        ];

        int[]? Numbers(string name) => option(name)?.Select(static number => int.Parse(number, CultureInfo.InvariantCulture)).ToArray();
    }

    /// <param name="cases">What to measure.</param>
    /// <param name="beside">The folder of another version of the project, to be measured by turns with this one; default none.</param>
    /// <param name="json">The file for the figures; default none.</param>
    public static void Run(IReadOnlyList<StepCase> cases, string? beside, string? json)
    {
        Console.WriteLine($"{Processor.Current}; {get_num_threads()} threads; load {Machine.Load()}");
        string[] here = [Environment.ProcessPath!, .. Self(), "step-child"];
        var there = beside is null ? null : Build(beside);
        List<StepFigures> all = [];
        foreach (var of in cases)
        {
            Console.WriteLine($"\n{of}");
            all.Add(Measure(of, here, there));
        }

        Console.WriteLine($"\nload at the end {Machine.Load()}");
        if (json is not null)
        {
            File.WriteAllText(json, JsonSerializer.Serialize(new { Processor = Processor.Current.ToString(), Threads = get_num_threads(), Cases = all }, Json));
        }
    }

    /// <summary>What only this version is asked: its kernels alone, and what each kind of layer takes.</summary>
    public static string? Answer(StepWork work, string question)
    {
        switch (question)
        {
            case "kernels":
                using (var log = new KernelLog(work.UNet))
                {
                    work.Step();
                    return JsonSerializer.Serialize(Alone(log.Kernels, work.Case.ScalarType));
                }

            case "layers":
                using (var log = new KernelLog(work.UNet))
                {
                    var whole = StepWork.Time(work.Predict);
                    var rest = Math.Max(0, whole - log.Seconds.Values.Sum());
                    return JsonSerializer.Serialize(new Dictionary<string, double>(log.Seconds) { ["elementwise, copies, rest"] = rest });
                }

            case "smallest":
                // On the smallest picture there is next to nothing to compute: what is left are calls, and reading the weights.
                work.Predict(8, 1);
                return StepWork.Time(() => work.Predict(8, 1)).ToString(CultureInfo.InvariantCulture);
            default:
                return null;
        }
    }

    private static StepFigures Measure(StepCase of, string[] here, string[]? there)
    {
        var asksDrawing = of is { Model: "base", Layers: "attention", Batch: 4 };
        using var ours = new StepProcess(here, of);
        using var theirs = there is null ? null : new StepProcess(there, of);
        StepProcess?[] both = [ours, theirs];
        string[] questions = asksDrawing ? ["step", "predict", "draw"] : ["step", "predict"];
        var seconds = questions.ToDictionary(static question => question, static _ => (Ours: new List<double>(), Theirs: new List<double>()));

        // The first of each touches memory and chooses kernels.
        double[] peaks = [.. both.Select(process => First(process, questions))];
        for (var round = 0; round < Rounds; round++)
        {
            foreach (var question in questions)
            {
                seconds[question].Ours.Add(ours.Ask(question));
                seconds[question].Theirs.Add(theirs?.Ask(question) ?? 0);
            }
        }

        var kernels = JsonSerializer.Deserialize<List<KindFigures>>(ours.AskText("kernels"))!;
        seconds["step"].Ours.AddRange(Enumerable.Range(0, 2).Select(_ => ours.Ask("step")));
        var layers = JsonSerializer.Deserialize<Dictionary<string, double>>(ours.AskText("layers"))!;
        var smallest = ours.Ask("smallest");
        var (step, predict) = (Middle(seconds["step"].Ours), Middle(seconds["predict"].Ours));
        var alone = kernels.Sum(static kind => kind.Seconds);
        Line("step", $"{step:F3} s; its kernels alone, each the fastest way, {alone:F3} s: {100 * alone / step:F0} %");
        foreach (var kind in kernels)
        {
            Line($"  {kind.Kind}", $"{kind.Seconds,7:F3} s alone, {kind.Flops / kind.Seconds / 1e9,5:F0} GFLOP/s ({kind.Ways})");
        }

        Line("prediction under guidance", $"{predict:F3} s, the smallest picture {smallest:F3} s");
        foreach (var (kind, time) in layers.OrderByDescending(static pair => pair.Value))
        {
            Line($"  {kind}", $"{100 * time / layers.Values.Sum(),5:F1} % of the time");
        }

        if (asksDrawing)
        {
            Line("15 pictures of 20 steps", $"{Middle(seconds["draw"].Ours):F2} s");
        }

        Line("peak of memory", $"{peaks[0] / 1e6:F0} MB of a step beside the weights{(theirs is null ? "" : $", {peaks[1] / 1e6:F0} MB with the other version")}");
        if (theirs is not null)
        {
            foreach (var (question, (a, b)) in seconds)
            {
                Line($"beside the other version, {question}", $"{Middle(a):F3} s and {Middle(b):F3} s: {Middle(a) / Middle(b):F2} of its time");
            }
        }

        return new(
            of,
            step,
            predict,
            alone,
            kernels,
            layers,
            smallest,
            peaks[0],
            seconds.ToDictionary(static pair => pair.Key, static pair => pair.Value.Ours),
            theirs is null ? null : seconds.ToDictionary(static pair => pair.Key, static pair => pair.Value.Theirs));
    }

    /// <summary>Each kernel in its fastest way, times how often it is needed, by kind.</summary>
    private static List<KindFigures> Alone(IReadOnlyDictionary<Kernel, int> kernels, ScalarType type) =>
    [
        .. kernels.Select(pair => (Kernel: pair.Key, Times: pair.Value, Best: pair.Key.Best(type)))
            .GroupBy(static one => one.Kernel.Kind)
            .Select(static kind => new KindFigures(
                kind.Key,
                kind.Sum(static one => one.Times * one.Best.Seconds),
                kind.Sum(static one => one.Times * one.Kernel.AllFlops),
                string.Join(", ", kind.CountBy(static one => one.Best.Way).Select(static way => $"{way.Value} × {way.Key}")))),
    ];

    private static double First(StepProcess? process, string[] questions)
    {
        if (process is null)
        {
            return 0;
        }

        process.Ask("step");
        var peak = process.Ask("peak");
        questions.ToList().ForEach(question => process.Ask(question));
        return peak;
    }

    private static string[] Self() => Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(StepBenchmark).Assembly.Location] : [];

    /// <summary>Compiles the work against another version's library.</summary>
    private static string[] Build(string tree)
    {
        var output = Path.Combine(Path.GetFullPath(tree), "artifacts", "step");
        using var build = Process.Start("dotnet",
        [
            "build", Path.Combine(Folder(), "..", "Benchmarks.csproj"), "-c", "Release", "-v", "q", "--nologo",
            $"-p:StepTree={Path.GetFullPath(tree)}", "--artifacts-path", output,
        ]);
        build.WaitForExit();
        return build.ExitCode == 0
            ? ["dotnet", Path.Combine(output, "bin", "Benchmarks", "release", "Benchmarks.dll")]
            : throw new InvalidOperationException($"The work cannot be compiled against the version in '{tree}'; the compiler says above why not.");
    }

    private static string Folder([CallerFilePath] string file = "") => Path.GetDirectoryName(file)!;

    /// <summary>The median, of an even number the upper one.</summary>
    public static double Middle(IReadOnlyCollection<double> values) => values.Order().ElementAt(values.Count / 2);

    private static void Line(string name, FormattableString text) => Console.WriteLine($"{name,-28} {text.ToString(CultureInfo.InvariantCulture)}");
}

/// <summary>What was measured of a case, in seconds and bytes.</summary>
internal sealed record StepFigures(
    StepCase Case,
    double Step,
    double Prediction,
    double KernelsAlone,
    IReadOnlyList<KindFigures> Kinds,
    IReadOnlyDictionary<string, double> LayersOfPrediction,
    double SmallestPrediction,
    double Peak,
    IReadOnlyDictionary<string, List<double>> All,
    IReadOnlyDictionary<string, List<double>>? OfOtherVersion);

/// <summary>The kernels of one kind alone.</summary>
/// <param name="Kind">3×3, 1×1, linear or attention.</param>
/// <param name="Seconds">What all of a step take, each the fastest way.</param>
/// <param name="Flops">Their operations.</param>
/// <param name="Ways">How many shapes are fastest which way.</param>
internal sealed record KindFigures(string Kind, double Seconds, double Flops, string Ways);
