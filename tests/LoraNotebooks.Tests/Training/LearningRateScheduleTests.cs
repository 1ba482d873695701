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
                table.Check($"schedules, {name}", "rate, of the base rate", difference, Limit, $"{options}, step {step}: expected {expected[step]}, got {schedule.Rate(step, total, baseRate)}");
            }
        }
    }

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
    [InlineData("1:10,0.1:20")]
    [InlineData("1:10:3,1")]
    [InlineData("1:ten,1")]
    [InlineData("")]
    public void ParsePieces_NoPieces_SaysWhatIsExpected(string rules) =>
        Assert.Contains("0.1:20", Assert.Throws<FormatException>(() => LearningRateSchedule.ParsePieces(rules)).Message);

    [Fact]
    public void WarmupSteps_BelowOne_AreAPartOfAllSteps()
    {
        Assert.Equal(12, new LearningRateSchedule { Warmup = 0.05 }.WarmupSteps(250));
        Assert.Equal(5, new LearningRateSchedule { Warmup = 5 }.WarmupSteps(250));
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
