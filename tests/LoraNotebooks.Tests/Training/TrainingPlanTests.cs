using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Data;
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
    public void For_ImagesRepeatsAndBatches_RoundsUpPerEpoch(int images, int repeats, int batch, int accumulation, int epochs, int batches, int stepsPerEpoch, int total)
    {
        var config = new TrainingConfig { BatchSize = batch, GradientAccumulation = accumulation, Epochs = epochs };

        var plan = TrainingPlan.For(config, images, images * repeats);

        Assert.Equal((batches, stepsPerEpoch, total), (plan.BatchesPerEpoch, plan.StepsPerEpoch, plan.TotalSteps));
    }

    [Fact]
    public void For_Dataset_CountsRepeats()
    {
        var dataset = new PreparedDataset(TinyRun.Dataset.Images.Select(image => image with { Repeats = 3 }));

        Assert.Equal(15, TrainingPlan.For(new TrainingConfig(), dataset).ImagesPerEpoch);
    }

    [Fact]
    public void ToString_Plan_StatesTheSteps()
    {
        var plan = TrainingPlan.For(new TrainingConfig { BatchSize = 4, Epochs = 5, Schedule = new() { Warmup = 0.1 } }, 20, 200);

        Assert.Equal("20 images, 200 per epoch with repeats; batches of 4: 50 steps per epoch; 5 epochs = 250 steps, the first 25 of them warm-up.", plan.ToString());
    }

    [Fact]
    public void ThrowIfInvalid_ThreeFaults_NamesThemAll()
    {
        var config = new TrainingConfig { BatchSize = 0, UNetLearningRate = double.NaN, UNetLora = new LoraConfig { Rank = 0, TargetModules = ["to_q"] } };

        var error = Assert.Throws<ArgumentException>(config.ThrowIfInvalid);

        Assert.Contains("BatchSize: got 0", error.Message, StringComparison.Ordinal);
        Assert.Contains("UNetLearningRate: got NaN", error.Message, StringComparison.Ordinal);
        Assert.Contains("UNetLora.Rank: got 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FromJson_OfToJson_IsTheSameSettings()
    {
        var config = TinyRun.Config("out") with { TextEncoderLearningRate = 5e-5, SamplePrompts = ["a", "b"], Captions = new CaptionOptions { Shuffle = true } };

        var json = config.ToJson().ToJsonString();

        Assert.Equal(json, TrainingConfig.FromJson(JsonNode.Parse(json)!.AsObject()).ToJson().ToJsonString());
        Assert.Throws<InvalidDataException>(() => TrainingConfig.FromJson(new JsonObject { ["Epoch"] = 3 }));
    }
}
