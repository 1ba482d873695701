using System.Text.Json;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

public sealed class LearningRateScheduleTests(ParityTable table) : IClassFixture<ParityTable>
{
    private const double Limit = 1e-12; // of the base rate; the rates are float64

    private static readonly Dictionary<string, ScheduleKind> Kinds = new()
    {
        ["constant"] = ScheduleKind.Constant,
        ["constant_with_warmup"] = ScheduleKind.ConstantWithWarmup,
        ["linear"] = ScheduleKind.Linear,
        ["cosine"] = ScheduleKind.Cosine,
        ["cosine (num_cycles given)"] = ScheduleKind.Cosine,
        ["cosine_with_restarts"] = ScheduleKind.CosineWithRestarts,
        ["polynomial"] = ScheduleKind.Polynomial,
        ["inverse_sqrt"] = ScheduleKind.InverseSqrt,
        ["cosine_with_min_lr"] = ScheduleKind.CosineWithMinLr,
        ["warmup_stable_decay"] = ScheduleKind.WarmupStableDecay,
        ["piecewise_constant"] = ScheduleKind.PiecewiseConstant,
    };

    [Fact]
    [Trait("Category", "Parity")]
    public void Rate_OfEveryStep_IsUpstreams()
    {
        var cases = Fixtures.Json("schedules", "schedules.json").GetProperty("schedules").EnumerateArray().ToList();
        Assert.NotEmpty(cases);
        foreach (var item in cases)
        {
            var name = item.GetProperty("name").GetString()!;
            var options = item.GetProperty("params");
            var schedule = new LearningRateSchedule
            {
                Kind = Kinds[name],
                Warmup = Number(options, "num_warmup_steps") ?? Number(options, "lr_warmup_steps") ?? 0,
                Cycles = Number(options, "num_cycles") ?? KohyaCycles(name, options),
                Power = Number(options, "power") ?? Number(options, "lr_scheduler_power") ?? 1,
                Timescale = (int?)(Number(options, "timescale") ?? Number(options, "lr_scheduler_timescale")),
                FinalRatio = Number(options, "min_lr_rate") ?? Number(options, "min_lr_ratio") ?? Number(options, "lr_scheduler_min_lr_ratio") ?? 0,
                Decay = Number(options, "num_decay_steps") ?? Number(options, "lr_decay_steps") ?? 0,
                Pieces = options.TryGetProperty("step_rules", out var rules) ? LearningRateSchedule.ParsePieces(rules.GetString()!) : [],
            };
            Assert.Empty(schedule.Validate());
            var total = (int)(Number(options, "num_training_steps") ?? Number(options, "max_train_steps") ?? item.GetProperty("lr_per_step").GetArrayLength());
            var baseRate = item.GetProperty("base_lr").GetDouble();

            var expected = item.GetProperty("lr_per_step").EnumerateArray().Select(rate => rate.GetDouble()).ToList();
            for (var step = 0; step < expected.Count; step++)
            {
                var difference = Math.Abs(expected[step] - schedule.Rate(step, total, baseRate)) / baseRate;
                table.Check(
                    $"schedules, {name}",
                    "rate, of the base rate",
                    difference,
                    Limit,
                    $"{options}, step {step}: expected {expected[step]}, got {schedule.Rate(step, total, baseRate)}");
            }
        }
    }

    /// <summary>A step of forty, and the rate there in parts of the base rate.</summary>
    private static readonly Dictionary<string, (LearningRateSchedule Schedule, int Step, double Rate)> Points = new()
    {
        ["constant ignores the warm-up"] = (new() { Kind = ScheduleKind.Constant, Warmup = 10 }, 0, 1),
        ["constant, beyond the end"] = (new() { Kind = ScheduleKind.Constant }, 50, 1),
        ["constant with warm-up, first"] = (new() { Kind = ScheduleKind.ConstantWithWarmup, Warmup = 10 }, 0, 0),
        ["constant with warm-up, last of it"] = (new() { Kind = ScheduleKind.ConstantWithWarmup, Warmup = 10 }, 9, 0.9),
        ["constant with warm-up, after it"] = (new() { Kind = ScheduleKind.ConstantWithWarmup, Warmup = 10 }, 10, 1),
        ["constant with warm-up, beyond the end"] = (new() { Kind = ScheduleKind.ConstantWithWarmup, Warmup = 10 }, 41, 1),
        ["a warm-up of a part"] = (new() { Kind = ScheduleKind.Linear, Warmup = 0.27 }, 5, 0.5),
        ["a warm-up of one step is no part"] = (new() { Kind = ScheduleKind.ConstantWithWarmup, Warmup = 1 }, 1, 1),
        ["linear"] = (new() { Kind = ScheduleKind.Linear, Warmup = 10 }, 16, 0.8),
        ["linear, beyond the end"] = (new() { Kind = ScheduleKind.Linear }, 41, 0),
        ["linear with nothing but a warm-up, beyond the end"] = (new() { Kind = ScheduleKind.Linear, Warmup = 40 }, 40, 1),
        ["cosine"] = (new() { Kind = ScheduleKind.Cosine, Warmup = 10 }, 20, 0.75),
        ["cosine, beyond the end, goes on"] = (new() { Kind = ScheduleKind.Cosine }, 60, 0.5),
        ["cosine, one wave"] = (new() { Kind = ScheduleKind.Cosine, Cycles = 1 }, 40, 1),
        ["restarts, one"] = (new() { Kind = ScheduleKind.CosineWithRestarts }, 20, 0.5),
        ["restarts, second wave"] = (new() { Kind = ScheduleKind.CosineWithRestarts, Cycles = 2, Warmup = 10 }, 25, 1),
        ["restarts, the end is no start"] = (new() { Kind = ScheduleKind.CosineWithRestarts, Cycles = 2 }, 40, 0),
        ["restarts, beyond the end"] = (new() { Kind = ScheduleKind.CosineWithRestarts, Cycles = 2 }, 45, 0),
        ["polynomial"] = (new() { Kind = ScheduleKind.Polynomial, Power = 2, FinalRate = 0.01, Warmup = 10 }, 25, (0.99 * 0.25) + 0.01),
        ["polynomial, beyond the end"] = (new() { Kind = ScheduleKind.Polynomial, Power = 2, FinalRate = 0.01 }, 42, 0.01),
        ["inverse root, by the warm-up"] = (new() { Kind = ScheduleKind.InverseSqrt, Warmup = 10 }, 30, Math.Sqrt(1 / 3d)),
        ["inverse root, by its own scale"] = (new() { Kind = ScheduleKind.InverseSqrt, Warmup = 10, Timescale = 5 }, 25, 0.5),
        ["inverse root, without either"] = (new() { Kind = ScheduleKind.InverseSqrt }, 30_000, 0.5),
        ["cosine with a floor"] = (new() { Kind = ScheduleKind.CosineWithMinLr, FinalRatio = 0.2 }, 20, 0.6),
        ["cosine with a floor, its end"] = (new() { Kind = ScheduleKind.CosineWithMinLr, FinalRatio = 0.2 }, 40, 0.2),
        ["decay at the end, warm-up from the floor"] = (new() { Kind = ScheduleKind.WarmupStableDecay, FinalRatio = 0.2, Warmup = 10 }, 5, 0.6),
        ["decay at the end, before it"] = (new() { Kind = ScheduleKind.WarmupStableDecay, FinalRatio = 0.2, Decay = 0.25 }, 30, 1),
        ["decay at the end, half of it"] = (new() { Kind = ScheduleKind.WarmupStableDecay, FinalRatio = 0.2, Decay = 0.25 }, 35, 0.6),
        ["decay at the end, of steps"] = (new() { Kind = ScheduleKind.WarmupStableDecay, FinalRatio = 0.2, Decay = 20 }, 30, 0.6),
        ["decay at the end, beyond it"] = (new() { Kind = ScheduleKind.WarmupStableDecay, FinalRatio = 0.2, Decay = 20 }, 50, 0.2),
        ["decay at the end, of nothing"] = (new() { Kind = ScheduleKind.WarmupStableDecay, Decay = 0 }, 39, 1),
        ["decay at the end, of nothing, its end"] = (new() { Kind = ScheduleKind.WarmupStableDecay, Decay = 0 }, 40, 0),
        ["pieces ignore the warm-up"] =
            (new() { Kind = ScheduleKind.PiecewiseConstant, Pieces = [new(0.5, 3), new(0.25, 6), new(0.125)], Warmup = 10 }, 2, 0.5),
        ["pieces, the next"] = (new() { Kind = ScheduleKind.PiecewiseConstant, Pieces = [new(0.5, 3), new(0.25, 6), new(0.125)] }, 3, 0.25),
        ["pieces, the last"] = (new() { Kind = ScheduleKind.PiecewiseConstant, Pieces = [new(0.5, 3), new(0.25, 6), new(0.125)] }, 6, 0.125),
        ["REX"] = (new() { Kind = ScheduleKind.Rex, FinalRatio = 0.1 }, 30, 0.1 + (0.9 * 0.25 / 0.625)),
        ["REX after a warm-up"] = (new() { Kind = ScheduleKind.Rex, Warmup = 10 }, 25, 0.5 / 0.75),
        ["REX, beyond the end"] = (new() { Kind = ScheduleKind.Rex, FinalRatio = 0.1 }, 41, 0.1),
    };

    public static TheoryData<string> PointNames() => [.. Points.Keys];

    [Theory]
    [MemberData(nameof(PointNames))]
    public void Rate_AtAStepOfForty_IsTheFormulas(string name)
    {
        var (schedule, step, expected) = Points[name];
        Assert.Empty(schedule.Validate());
        Assert.Equal(expected, schedule.Rate(step, 40, 1), 1e-12);

        // A final rate is a rate, the others are parts of one.
        var floor = schedule.Kind == ScheduleKind.Polynomial ? schedule.FinalRate : 0;
        Assert.Equal(((expected - floor) / (1 - floor) * (0.3 - floor)) + floor, schedule.Rate(step, 40, 0.3), 1e-12);
    }

    [Fact]
    public void ParsePieces_Rules_AreFactorsAndEnds() =>
        Assert.Equal([new RatePiece(1, 10), new RatePiece(0.1, 20), new RatePiece(0.005)], LearningRateSchedule.ParsePieces("1:10,0.1:20,0.005"));

    [Fact]
    public void Rate_Rex_FallsSteeplyAtTheEnd()
    {
        var schedule = new LearningRateSchedule { Kind = ScheduleKind.Rex };

        Assert.Equal(1, schedule.Rate(0, 100, 1));
        Assert.Equal(2d / 3, schedule.Rate(50, 100, 1), 1e-12);
        Assert.Equal(0, schedule.Rate(100, 100, 1));
        Assert.Equal(0.1, (schedule with { FinalRatio = 0.1 }).Rate(120, 100, 1), 1e-12);
    }

    [Fact]
    public void Rate_WarmupStableDecay_HoldsTheBaseRateBetweenItsEnds()
    {
        var schedule = new LearningRateSchedule { Kind = ScheduleKind.WarmupStableDecay, Warmup = 10, Decay = 0.2 };

        Assert.All(Enumerable.Range(10, 71), step => Assert.Equal(1, schedule.Rate(step, 100, 1)));
        Assert.True(schedule.Rate(81, 100, 1) < 1);
        Assert.Equal(0.5, schedule.Rate(90, 100, 1), 1e-12);
    }

    [Theory]
    [InlineData("1:10,0.1:20", "0.1:20")]
    [InlineData("1:10:3,1", "1:10:3")]
    [InlineData("1:ten,1", "1:ten")]
    [InlineData("one:10,1", "one:10")]
    [InlineData("1:-10,1", "1:-10")]
    [InlineData("1,1", "1")]
    [InlineData("1:5,one", "one")]
    [InlineData("", "")]
    public void ParsePieces_NoPieces_SaysWhereAndWhatIsExpected(string rules, string part) =>
        Assert.Equal(
            $"Got '{part}' in the pieces '{rules}'; write a factor and the step before which it holds (0.1:20), and at the end a factor alone (0.005).",
            Assert.Throws<FormatException>(() => LearningRateSchedule.ParsePieces(rules)).Message);

    [Fact]
    public void ParsePieces_OfNothing_IsRefused() => Assert.Throws<ArgumentNullException>(() => LearningRateSchedule.ParsePieces(null!));

    [Fact]
    public void WarmupSteps_BelowOne_AreAPartOfAllSteps()
    {
        Assert.Equal(12, new LearningRateSchedule { Warmup = 0.05 }.WarmupSteps(250));
        Assert.Equal(5, new LearningRateSchedule { Warmup = 5 }.WarmupSteps(250));
        Assert.Equal(1, new LearningRateSchedule { Warmup = 1 }.WarmupSteps(250));
        Assert.Equal(
            (50, 12, 7),
            (new LearningRateSchedule().DecaySteps(250),
                new LearningRateSchedule { Decay = 0.05 }.DecaySteps(250),
                new LearningRateSchedule { Decay = 7 }.DecaySteps(250)));
    }

    [Fact]
    public void Validate_SeveralFaults_NamesThemAll()
    {
        var faults = new LearningRateSchedule { Kind = ScheduleKind.CosineWithRestarts, Warmup = 1.5, Cycles = 0.5, Power = 0 }.Validate();

        Assert.Equal(3, faults.Count);
        Assert.Contains(faults, fault => fault.StartsWith("Warmup: got 1.5", StringComparison.Ordinal));
        Assert.Contains(faults, fault => fault.StartsWith("Cycles: got 0.5", StringComparison.Ordinal));
        Assert.Contains(faults, fault => fault.StartsWith("Power: got 0", StringComparison.Ordinal));
    }

    // kohya counts half waves of a cosine with a floor, and none of the plain cosine.
    private static double? KohyaCycles(string name, JsonElement options) => name switch
    {
        "cosine_with_restarts" => Number(options, "lr_scheduler_num_cycles"),
        "cosine_with_min_lr" or "warmup_stable_decay" => Number(options, "lr_scheduler_num_cycles") / 2,
        _ => null,
    };

    private static double? Number(JsonElement options, string name) =>
        options.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
