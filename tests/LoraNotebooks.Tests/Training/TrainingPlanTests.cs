using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Training;

namespace LoraNotebooks.Tests.Training;

public sealed class TrainingPlanTests
{
    // images, repeats, batch, accumulation, epochs → batches per epoch, steps per epoch, steps
    [Theory]
    [InlineData(20, 10, 4, 1, 5, 50, 50, 250)]
    [InlineData(15, 10, 4, 1, 10, 38, 38, 380)]
    [InlineData(7, 3, 2, 4, 3, 11, 3, 9)]
    [InlineData(1, 1, 6, 4, 2, 1, 1, 2)]
    public void For_ImagesRepeatsAndBatches_RoundsUpPerEpoch(
        int images, int repeats, int batch, int accumulation, int epochs, int batches, int stepsPerEpoch, int total)
    {
        var config = new DiffusionTrainingConfig { BatchSize = batch, GradientAccumulation = accumulation, Epochs = epochs };

        var plan = TrainingPlan.For(config, images, images * repeats);

        Assert.Equal((batches, stepsPerEpoch, total), (plan.BatchesPerEpoch, plan.StepsPerEpoch, plan.TotalSteps));
    }

    [Fact]
    public void For_Numbers_AreNoted()
    {
        var plan = TrainingPlan.For(
            new DiffusionTrainingConfig { BatchSize = 2, GradientAccumulation = 3, Epochs = 5, Schedule = new() { Warmup = 0.25 } },
            7,
            21);

        Assert.Equal((7, 21, 0, 11, 4), (plan.Examples, plan.ExamplesPerEpoch, plan.RegularizationPerEpoch, plan.BatchesPerEpoch, plan.StepsPerEpoch));
        Assert.Equal((5, 2, 3, 5, 20), (plan.Epochs, plan.BatchSize, plan.GradientAccumulation, plan.WarmupSteps, plan.TotalSteps));
        Assert.Empty(plan.Warnings);
    }

    [Fact]
    public void For_Dataset_CountsRepeatsOfBothKindsAndTellsWhatPreparingCutOff()
    {
        var images = TinyRun.Dataset.Images.Select(image => image with { Repeats = 3 });
        var dataset = new PreparedDataset(images).WithRegularization(new PreparedDataset(images.Take(1)));

        var plan = new DiffusionTrainingConfig().PlanFor(dataset);

        Assert.Equal((6, 30, 15), (plan.Examples, plan.ExamplesPerEpoch, plan.RegularizationPerEpoch));
        Assert.Equal(dataset.Report.Summary, plan.Warnings);
    }

    // Images of an epoch, batch size, epochs → steps, or what is refused.
    [Theory]
    [InlineData(1, 1, int.MaxValue, int.MaxValue, null)]
    [InlineData(2, 1, 1 << 30, 0, "Epochs: got 1073741824 of 2 steps, expected at most 2147483647 steps in all.")]
    [InlineData(2, 1, (1 << 30) - 1, int.MaxValue - 1, null)]
    [InlineData(int.MaxValue, int.MaxValue, 1, 1, null)]
    [InlineData(int.MaxValue, 2, 1, 1 << 30, null)]
    public void For_ManySteps_CountsThemOrRefuses(int images, int batch, int epochs, int steps, string? fault)
    {
        var config = new DiffusionTrainingConfig { BatchSize = batch, Epochs = epochs };
        if (fault is null)
        {
            Assert.Equal(steps, TrainingPlan.For(config, 1, images).TotalSteps);
        }
        else
        {
            Assert.Contains(fault, Assert.Throws<ArgumentException>(() => TrainingPlan.For(config, 1, images)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void For_WrongArguments_AreRefused()
    {
        using var pipeline = TinyPipeline.Create();
        var config = new DiffusionTrainingConfig();

        Assert.Equal("config", Assert.Throws<ArgumentNullException>(() => TrainingPlan.For(null!, 1, 1)).ParamName);
        Assert.Equal("dataset", Assert.Throws<ArgumentNullException>(() => config.PlanFor(null!)).ParamName);
        Assert.Equal("pipeline", Assert.Throws<ArgumentNullException>(() => config.PlanFor(TinyRun.Dataset, null!)).ParamName);
        Assert.Equal("examples", Assert.Throws<ArgumentOutOfRangeException>(() => TrainingPlan.For(config, 0, 1)).ParamName);
        Assert.Equal("examplesPerEpoch", Assert.Throws<ArgumentOutOfRangeException>(() => TrainingPlan.For(config, 1, 0)).ParamName);
        Assert.Contains(
            "Epochs: got 0",
            Assert.Throws<ArgumentException>(() => TrainingPlan.For(config with { Epochs = 0 }, 1, 1)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void ToString_Plan_StatesTheSteps()
    {
        var config = new DiffusionTrainingConfig { BatchSize = 4, Epochs = 5, Schedule = new() { Warmup = 0.1 } };
        var regular = new PreparedDataset(TinyRun.Dataset.Images).WithRegularization(TinyRun.Dataset);

        Assert.Equal(
            "20 images, 200 per epoch with repeats; batches of 4: 50 steps per epoch; 5 epochs = 250 steps, the first 25 of them warm-up.",
            TrainingPlan.For(config, 20, 200, "image").ToString());
        Assert.Equal(
            "20 images, 200 per epoch with repeats; batches of 4, 2 of them to a step: 25 steps per epoch; 5 epochs = 125 steps.",
            TrainingPlan.For(config with { GradientAccumulation = 2, Schedule = new() }, 20, 200, "image").ToString());
        Assert.Equal(
            "1 image, 1 per epoch with repeats; batches of 1: 1 step per epoch; 1 epoch = 1 step.",
            TrainingPlan.For(new DiffusionTrainingConfig { Epochs = 1 }, 1, 1, "image").ToString());
        Assert.Equal(
            "10 images, 10 per epoch with repeats, 5 of them for regularization; batches of 1: 10 steps per epoch; 10 epochs = 100 steps."
            + "\nwarning: SaveEveryEpochs is 11, but there are 10 epochs: only the final file is written"
            + "\nwarning: Schedule.Power has no effect: Cosine has none",
            new DiffusionTrainingConfig { Schedule = new() { Power = 2 }, SaveEveryEpochs = 11 }.PlanFor(regular).ToString());
    }

    [Fact]
    public void ThrowIfInvalid_ThreeFaults_NamesThemAll()
    {
        var config = new DiffusionTrainingConfig
        {
            BatchSize = 0,
            UNetLearningRate = double.NaN,
            UNetLora = new LoraConfig { Rank = 0, TargetModules = ["to_q"] },
        };

        var error = Assert.Throws<ArgumentException>(config.ThrowIfInvalid);

        Assert.Contains("BatchSize: got 0", error.Message, StringComparison.Ordinal);
        Assert.Contains("UNetLearningRate: got NaN", error.Message, StringComparison.Ordinal);
        Assert.Contains("UNetLora.Rank: got 0", error.Message, StringComparison.Ordinal);
    }
}
