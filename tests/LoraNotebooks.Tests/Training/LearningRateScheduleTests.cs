using System.Text.Json;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

public sealed class LearningRateScheduleTests
{
    private static readonly Dictionary<string, ScheduleKind> Kinds = new()
    {
        ["constant"] = ScheduleKind.Constant,
        ["constant_with_warmup"] = ScheduleKind.ConstantWithWarmup,
        ["linear"] = ScheduleKind.Linear,
        ["cosine"] = ScheduleKind.Cosine,
        ["cosine (num_cycles given)"] = ScheduleKind.Cosine,
        ["cosine_with_restarts"] = ScheduleKind.CosineWithRestarts,
        ["polynomial"] = ScheduleKind.Polynomial,
    };

    [Fact]
    [Trait("Category", "Parity")]
    public void Rate_OfEveryStep_IsUpstreams()
    {
        var cases = Fixtures.Json("schedules", "schedules.json").GetProperty("schedules").EnumerateArray().Where(item => Kinds.ContainsKey(item.GetProperty("name").GetString()!)).ToList();
        Assert.NotEmpty(cases);
        foreach (var item in cases)
        {
            var options = item.GetProperty("params");
            var schedule = new LearningRateSchedule
            {
                Kind = Kinds[item.GetProperty("name").GetString()!],
                Warmup = Number(options, "num_warmup_steps") ?? Number(options, "lr_warmup_steps") ?? 0,
                Cycles = Number(options, "num_cycles") ?? (item.GetProperty("name").GetString() == "cosine" ? null : Number(options, "lr_scheduler_num_cycles")),
                Power = Number(options, "power") ?? Number(options, "lr_scheduler_power") ?? 1,
            };
            Assert.Empty(schedule.Validate());
            var total = (int)(Number(options, "num_training_steps") ?? Number(options, "max_train_steps"))!.Value;
            var baseRate = item.GetProperty("base_lr").GetDouble();

            var expected = item.GetProperty("lr_per_step").EnumerateArray().Select(rate => rate.GetDouble()).ToList();
            for (var step = 0; step < expected.Count; step++)
            {
                Assert.True(
                    Math.Abs(expected[step] - schedule.Rate(step, total, baseRate)) <= 1e-12 * baseRate,
                    $"{item.GetProperty("name")} {options}, step {step}: expected {expected[step]}, got {schedule.Rate(step, total, baseRate)}");
            }
        }
    }

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

    private static double? Number(JsonElement options, string name) =>
        options.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
