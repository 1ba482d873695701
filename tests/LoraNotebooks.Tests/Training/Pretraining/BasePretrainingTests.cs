using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Vision;
using LoraNotebooks.Training.Pretraining;

namespace LoraNotebooks.Tests.Training.Pretraining;

public sealed class BasePretrainingTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("lora-pretraining").FullName;

    public BasePretrainingTests()
    {
        string[] lines =
        [
            .. Enumerable.Range(0, 48).Select(i =>
            {
                new RgbImage(64, 64, [.. Enumerable.Range(0, 64 * 64 * 3).Select(p => (byte)((p * (i + 1)) >> 3))]).SavePng(Path.Combine(folder, "corpus", $"{i}.png"));
                var split = i < 40 ? "train" : i < 44 ? "vae" : "test";
                return $$"""{"file_name":"{{i}}.png","text":"adventurer style, long hair, {{(i % 2 == 0 ? "blue" : "red")}} background","split":"{{split}}"}""";
            }),
        ];
        File.WriteAllLines(Path.Combine(folder, "corpus", "metadata.jsonl"), lines);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Run_StoppedAndRunAgain_WritesTheModelOfAnUninterruptedRun()
    {
        var whole = Config("whole");
        BasePretraining.Run(whole);

        var stopped = Config("stopped");
        using var stop = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => BasePretraining.Run(stopped with { SaveEvery = 1 }, new Stop(stop), stop.Token));
        BasePretraining.Run(stopped);

        foreach (var part in new[] { "unet", "vae" })
        {
            const string weights = "diffusion_pytorch_model.safetensors";
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole.Output, part, weights)), File.ReadAllBytes(Path.Combine(stopped.Output, part, weights)));
        }

        using var pipeline = StableDiffusionPipeline.FromFolder(whole.Output);
        var image = pipeline.Generate(new GenerationOptions { Prompt = "adventurer style, blue background", Steps = 2, Guidance = 3 }).Single();
        Assert.Equal((64, 64), (image.Width, image.Height));

        using var classifier = new TagClassifier(["blue background", "red background"]);
        var scores = BaseEvaluation.Score(pipeline, classifier, whole.Corpus, captions: 4, steps: 2);
        Assert.Equal(4, scores.Single(score => score.Attribute == "background").Total);
    }

    [Fact]
    public void Run_Classifier_LearnsTheTagsThatAreCommonEnough()
    {
        var target = Path.Combine(folder, "classifier");

        ClassifierPretraining.Run(Config("classifier-run"), target, steps: 2);

        using var classifier = TagClassifier.FromFolder(target);
        Assert.Equal(["adventurer style", "long hair"], classifier.Tags);
    }

    [Fact]
    public void Run_StateOfAnotherModel_SaysWhatToDo()
    {
        var config = Config("other");
        SafetensorsFile.Write(
            Path.Combine(folder, "other-state", "autoencoder.safetensors"),
            new Dictionary<string, TorchSharp.torch.Tensor>
            {
                ["master"] = TorchSharp.torch.zeros(3),
                ["first_moment"] = TorchSharp.torch.zeros(3),
                ["second_moment"] = TorchSharp.torch.zeros(3),
                ["average"] = TorchSharp.torch.zeros(3),
            },
            new Dictionary<string, string> { ["steps"] = "1" });

        Assert.Contains("Delete the file to start over", Assert.Throws<InvalidDataException>(() => BasePretraining.Run(config)).Message);
    }

    [Fact]
    public void Run_ConfigWithThreeFaults_ListsThemAll()
    {
        var error = Assert.Throws<ArgumentException>(() => BasePretraining.Run(new PretrainingConfig { Corpus = "nowhere", Output = folder, DenoiserSteps = 0, AverageDecay = 1 }));

        Assert.Contains("Corpus: nowhere", error.Message);
        Assert.Contains("DenoiserSteps: got 0", error.Message);
        Assert.Contains("AverageDecay: got 1", error.Message);
    }

    private PretrainingConfig Config(string name) => new()
    {
        Corpus = Path.Combine(folder, "corpus"),
        Output = Path.Combine(folder, name),
        AutoencoderSteps = 2,
        AutoencoderBatch = 2,
        DecoderSteps = 2,
        DenoiserSteps = 3,
        DenoiserBatch = 2,
        BFloat16 = false,
    };

    /// <summary>Stops a run in the middle of its last stage.</summary>
    private sealed class Stop(CancellationTokenSource source) : IProgress<PretrainingStep>
    {
        public void Report(PretrainingStep value)
        {
            if (value.Stage == "decoder")
            {
                source.Cancel();
            }
        }
    }
}
