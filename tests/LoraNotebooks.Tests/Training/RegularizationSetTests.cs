using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training;

public sealed class RegularizationSetTests : IDisposable
{
    private static readonly RegularizationOptions Options = new() { Prompts = ["portrait", "portrait, long hair"], Count = 5, Generation = new() { Steps = 2, Seed = 7 } };

    private readonly TemporaryFolder folder = new();
    private readonly StableDiffusionPipeline pipeline = TinyPipeline.Create();

    public void Dispose()
    {
        pipeline.Dispose();
        folder.Dispose();
    }

    [Fact]
    public void OpenOrCreate_NewFolder_DrawsThePromptsInTurnFromSeedsOfTheirOwn()
    {
        var steps = new List<int>();

        var images = RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, Options, new Immediate<int>(steps.Add));

        Assert.Equal(["portrait", "portrait, long hair", "portrait", "portrait, long hair", "portrait"], images.Images.Select(image => image.Caption));
        Assert.Equal(["seed 7", "seed 10", "seed 8", "seed 11", "seed 9"], images.Images.Select(image => image.SourceFile));
        Assert.Equal([1, 2, 3, 4], steps);
        var alone = pipeline.Generate(Options.Generation with { Prompt = "portrait, long hair", Seed = 11 })[0];
        StableDiffusionPipelineTests.AssertSame(alone.Pixels, images.Images[3].Image.Pixels);
        Assert.Equal(images.ComputeHash(), PreparedDataset.Load(folder.In("class")).ComputeHash());
        Assert.Empty(Directory.GetDirectories(folder.Path, "*.tmp"));
    }

    [Fact]
    public void OpenOrCreate_SameAgain_ReadsTheFolderAndGivesTheSame()
    {
        var first = RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, Options);
        var steps = new List<int>();
        var live = DisposeScopeManager.Statistics.ThreadTotalLiveCount;

        var second = RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, Options, new Immediate<int>(steps.Add));
        var elsewhere = RegularizationSet.OpenOrCreate(folder.In("again"), pipeline, Options);

        Assert.Empty(steps);
        Assert.Equal(first.ComputeHash(), second.ComputeHash());
        Assert.Equal(first.ComputeHash(), elsewhere.ComputeHash());
        Assert.Equal(live, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void OpenOrCreate_OtherOptionsModelOrImages_NamesEveryDifference()
    {
        RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, Options);
        using var other = TinyPipeline.Create(seed: 2);
        using (no_grad())
        {
            other.UNet.parameters().First().add_(1);
        }

        File.WriteAllText(folder.In("class", "000001.txt"), "changed\n");
        File.WriteAllText(folder.In("class", "metadata.jsonl"), File.ReadAllText(folder.In("class", "metadata.jsonl")).Replace("\"000001.png\",\"text\":\"portrait, long hair\"", "\"000001.png\",\"text\":\"changed\"", StringComparison.Ordinal));

        var error = Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(folder.In("class"), other, Options with { Count = 6 }));

        Assert.Contains("- options: ", error.Message, StringComparison.Ordinal);
        Assert.Contains("- model: ", error.Message, StringComparison.Ordinal);
        Assert.Contains("- data: images or captions were changed", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenOrCreate_OtherSecondTextEncoder_IsAnotherModel()
    {
        using var xl = TinyPipeline.CreateXL();
        RegularizationSet.OpenOrCreate(folder.In("class"), xl, Options);
        using (no_grad())
        {
            xl.TextEncoder2!.parameters().Last().add_(1);
        }

        Assert.Contains("- model: ", Assert.Throws<InvalidDataException>(() => RegularizationSet.OpenOrCreate(folder.In("class"), xl, Options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OpenOrCreate_FolderOfSomethingElse_LeavesItAlone()
    {
        Directory.CreateDirectory(folder.In("photos"));
        File.WriteAllText(folder.In("photos", "a.txt"), "mine");

        var error = Assert.Throws<IOException>(() => RegularizationSet.OpenOrCreate(folder.In("photos"), pipeline, Options));

        Assert.Contains("no folder that was made here", error.Message, StringComparison.Ordinal);
        Assert.Equal("mine", File.ReadAllText(folder.In("photos", "a.txt")));
    }

    [Fact]
    public void OpenOrCreate_Cancelled_WritesNothing()
    {
        using var source = new CancellationTokenSource();

        Assert.Throws<OperationCanceledException>(() => RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, Options, new Immediate<int>(_ => source.Cancel()), source.Token));
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void OpenOrCreate_WrongOptions_NamesThemAll()
    {
        var error = Assert.Throws<ArgumentException>(() => RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, new RegularizationOptions { Prompts = [], Count = 0, Generation = new() { Steps = 0 } }));

        Assert.Contains("Prompts: got 0", error.Message, StringComparison.Ordinal);
        Assert.Contains("Count: got 0", error.Message, StringComparison.Ordinal);
        Assert.Contains("Generation.Steps: got 0", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_OnSubjectAndItsClass_MixesBothInEveryEpoch()
    {
        var dataset = TinyRun.Dataset.WithRegularization(RegularizationSet.OpenOrCreate(folder.In("class"), pipeline, Options));

        using var result = new LoraTrainer().Train(TinyRun.Config(folder.In("out")), pipeline, dataset);

        Assert.Equal((10, 5), (result.Plan.ImagesPerEpoch, result.Plan.RegularizationImagesPerEpoch));
        Assert.All(result.Steps, step => Assert.True(double.IsFinite(step.Loss)));
    }
}
