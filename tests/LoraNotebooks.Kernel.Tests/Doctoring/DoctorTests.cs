using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using LoraNotebooks.Kernel.Commands;
using LoraNotebooks.Kernel.Doctoring;
using LoraNotebooks.Tensors;
using LoraNotebooks.Tensors.Convolutions;
using static TorchSharp.torch;

namespace LoraNotebooks.Kernel.Tests.Doctoring;

public sealed class DoctorTests
{
    [Fact]
    public void Examine_ThisMachine_LooksAtEverythingAndAdvisesWhereSomethingIsMissing()
    {
        var checks = Doctor.Examine(measure: true).ToArray();
        Assert.Equal(
            [
                "System", ".NET SDK", "Memory", "Processor", "libtorch", "Convolutions", "Kernels", "Threads", "Device",
                "Speed fp32", "Speed bf16", "Base model",
            ],
            checks.Select(check => check.Name));
        Assert.All(checks, check => Assert.NotEmpty(check.Found));
        Assert.All(checks.Where(check => check.Health != Health.Ok), check => Assert.NotEmpty(check.Advice));
        Assert.DoesNotContain(checks, check => check.Health == Health.Fail && check.Name is "libtorch" or ".NET SDK" && check.Health == Health.Fail);
        Assert.StartsWith($"{Processor.Current}: ", checks.Single(check => check.Name == "Processor").Found, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Architecture.X64, new[] { "AVX2", "FMA" }, Health.Ok, "p (family 25, model 1): AVX2, FMA")]
    [InlineData(Architecture.X64, new[] { "SSE4.1", "AVX" }, Health.Warn, "p (family 25, model 1): SSE4.1, AVX")]
    [InlineData(Architecture.X64, new string[0], Health.Warn, "p (family 25, model 1): no vector instructions")]
    [InlineData(Architecture.Arm64, new[] { "NEON" }, Health.Ok, "p (family 25, model 1): NEON")]
    public void Check_Processor_NamesItAndWarnsWithoutAvx2(Architecture architecture, string[] instructions, Health health, string found)
    {
        var check = ProcessorFeatures.Check(new Processor { Vendor = "v", Name = "p", Family = 25, Model = 1, Instructions = instructions }, architecture);
        Assert.Equal((health, found, health != Health.Ok), (check.Health, check.Found, check.Advice.Length > 0));
    }

    [Fact]
    public void Doctor_WrongKernelsThatAreGoneAround_SaysSoAndEndsWithoutFailure()
    {
        using var wrong = CheckedConvolution.Use(new ConvolutionEngine(WrongForHalfBlocks, new ConvolutionVerdicts(null), forced: null, static _ => { }));

        var (code, checks) = Report();

        var check = checks.Single(check => check.GetProperty("name").GetString() == "Convolutions");
        Assert.Equal(0, code);
        Assert.Equal("warn", check.GetProperty("health").GetString());
        Assert.Matches(
            "^libtorch computes [0-9]+ of 20 samples wrong on this processor.*, such as Float32 contiguous, 2×24×4×4 → 24, kernel 3×3.*output off by",
            check.GetProperty("found").GetString());
        Assert.Contains("computes such convolutions another way, 20 of 20 right", check.GetProperty("advice").GetString());
    }

    [Fact]
    public void Doctor_WrongKernelsThatASwitchForces_FailsAndNamesTheSwitch()
    {
        using var wrong = CheckedConvolution.Use(
            new ConvolutionEngine(WrongForHalfBlocks, new ConvolutionVerdicts(null), ConvolutionWay.Native, static _ => { }));

        var (code, checks) = Report();

        Assert.Equal(1, code);
        Assert.Contains(checks, check =>
            check.GetProperty("health").GetString() == "fail"
            && check.GetProperty("advice").GetString()!.Contains("LORANOTEBOOKS_CONVOLUTIONS forces the Native way"));
    }

    [Fact]
    public void NumericsExam_ProcessThatDies_NamesTheOperationAndGoesOnBehindIt()
    {
        var starts = new List<int>();
        var outcomes = NumericsExam.Run(
            first =>
            {
                starts.Add(first);
                var output = new StringWriter();
                NumericsExam.Work(NumericsSweep.Count - 6 + first, output);
                var lines = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries)
                    .Select(line => line.StartsWith('?') ? $"? {int.Parse(line[2..], CultureInfo.InvariantCulture) - NumericsSweep.Count + 6}" : line);

                // The third of six ends the process in the middle.
                return first <= 2 ? lines.TakeWhile(line => line != "? 2").Append("? 2") : lines;
            },
            6,
            number => $"kind, number {number}");

        Assert.Equal([0, 3], starts);
        Assert.Equal(6, outcomes.Count);
        Assert.Equal(new NumericsOutcome("kind", "number 2", "ended the process", IsGoneAround: false), outcomes[2]);
        Assert.Single(outcomes, outcome => outcome.Fault is not null);
    }

    [Fact]
    public void NumericsExam_ProcessThatCannotBegin_IsAnErrorNotAVerdict() =>
        Assert.Throws<InvalidOperationException>(() => NumericsExam.Run(static _ => [], 6, static number => $"kind, number {number}"));

    [Fact]
    public void NumericsSweep_OnFloat32OfEveryKind_FindsThemRightOrGoneAround()
    {
        // Each kind's first and every fortieth; all of them are what 'doctor --numerics' is for, and so is how a processor rounds bfloat16.
        var outcomes = Enumerable.Range(0, NumericsSweep.Count).GroupBy(static number => NumericsSweep.Name(number).Split(',')[0])
            .SelectMany(static kind => kind.Where(static (_, i) => i % 40 == 0)).Select(NumericsSweep.Run).ToArray();
        Assert.True(outcomes.Select(static outcome => outcome.Kind).Distinct().Count() >= 9);
        Assert.All(
            outcomes.Where(static outcome => outcome.Case.StartsWith("Float32", StringComparison.Ordinal)),
            static outcome => Assert.True(outcome.Fault is null || outcome.IsGoneAround, $"{outcome.Kind} {outcome.Case}: {outcome.Fault}"));
    }

    private static (int Code, JsonElement[] Checks) Report()
    {
        var console = Console.Out;
        using var output = new StringWriter();
        Console.SetOut(output);
        try
        {
            var code = DoctorCommand.Create().Parse(["--json"]).Invoke();
            using var json = JsonDocument.Parse(output.ToString());
            return (code, [.. json.RootElement.GetProperty("checks").Clone().EnumerateArray()]);
        }
        finally
        {
            Console.SetOut(console);
        }
    }

    /// <summary>As oneDNN 3.7.1 does on some processors: the last half-full block of a contiguous input's channels is misplaced.</summary>
    private static Tensor WrongForHalfBlocks(Tensor x, Tensor weight, Tensor? bias, ConvolutionGeometry geometry)
    {
        using var scope = NewDisposeScope();
        var isConcerned = x.size(0) > 1 && x.stride(1) != 1 && x.size(1) % 16 == 8;
        var seen = isConcerned ? cat([x.narrow(1, 0, x.size(1) - 8), x.narrow(1, x.size(1) - 8, 8).roll(1, 3)], 1) : x;
        return ConvolutionWays.Product(seen, weight, geometry).MoveToOuterDisposeScope();
    }
}
