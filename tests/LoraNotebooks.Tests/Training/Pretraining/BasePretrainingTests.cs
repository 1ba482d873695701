using System.Text.Json.Nodes;
using LoraNotebooks.Data;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Models.Diffusion;
using LoraNotebooks.Models.Language;
using LoraNotebooks.Models.Vision;
using LoraNotebooks.Training.Pretraining;
using TorchSharp;

namespace LoraNotebooks.Tests.Training.Pretraining;

public sealed class BasePretrainingTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lora-pretraining").FullName;

    public BasePretrainingTests()
    {
        string[] lines =
        [
            .. Enumerable.Range(0, 48).Select(i =>
            {
                new RgbImage(64, 64, [.. Enumerable.Range(0, 64 * 64 * 3).Select(p => (byte)((p * (i + 1)) >> 3))]).SavePng(Path.Combine(_folder, "corpus",
                    $"{i}.png"));
                var split = i < 40 ? "train" : i < 44 ? "vae" : "test";
                var text = $"adventurer style, long hair, {(i % 2 == 0 ? "blue" : "red")} background{(i < 40 ? ", hat" : "")}{(i < 39 ? ", cap" : "")}";
                return $$"""{"file_name":"{{i}}.png","text":"{{text}}","split":"{{split}}"}""";
            }),
        ];
        File.WriteAllLines(Path.Combine(_folder, "corpus", "metadata.jsonl"), lines);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Run_StoppedAndRunAgain_WritesTheModelOfAnUninterruptedRun()
    {
        var whole = Config("whole");
        BasePretraining.Run(whole);

        var stopped = Config("stopped");
        using var stop = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => BasePretraining.Run(stopped with { SaveEvery = 1 }, new Stop(stop), stop.Token));
        BasePretraining.Run(stopped);
        BasePretraining.Export(stopped with { Output = Path.Combine(_folder, "exported"), State = stopped.StateFolder });

        foreach (var part in new[] { "unet", "vae" })
        {
            const string weights = "diffusion_pytorch_model.safetensors";
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole.Output, part, weights)), File.ReadAllBytes(Path.Combine(stopped.Output, part, weights)));
            Assert.Equal(File.ReadAllBytes(Path.Combine(whole.Output, part, weights)), File.ReadAllBytes(Path.Combine(_folder, "exported", part, weights)));
            using var file = SafetensorsFile.Open(Path.Combine(whole.Output, part, weights));
            Assert.All(file.Tensors.Values, static tensor => Assert.Equal(torch.ScalarType.Float16, tensor.DType));
        }

        AssertArchitecture(whole.Output);
        AssertAverageIsSaved(whole);

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
        var target = Path.Combine(_folder, "classifier");

        ClassifierPretraining.Run(Config("classifier-run"), target, steps: 2);

        using var classifier = TagClassifier.FromFolder(target);
        Assert.Equal(["adventurer style", "hat", "long hair"], classifier.Tags);
    }

    [Fact]
    public void Run_ClassifiersFirstStep_IsOfTheCrossEntropyOfItsTags()
    {
        var config = Config("classifier-run") with { Seed = 6 };
        var reports = new List<PretrainingStep>();

        ClassifierPretraining.Run(config, Path.Combine(_folder, "classifier"), steps: 1, new Immediate<PretrainingStep>(reports.Add));

        using var scope = torch.NewDisposeScope();
        using var corpus = PortraitCorpus.Load(config.Corpus, "train", "vae", "character");
        string[] known = ["adventurer style", "hat", "long hair"];
        torch.manual_seed(8);
        using var model = new TagClassifier(known);
        using var generator = PortraitCorpus.StepGenerator(6, "classifier", 0);
        var rows = torch.randint(0, 44, [64], torch.int64, generator: generator);
        var logits = model.call(ClassifierPretraining.Disturb(corpus.Batch(rows), generator));
        var expected = 0.0;
        for (var i = 0; i < 64; i++)
        {
            for (var tag = 0; tag < 3; tag++)
            {
                var probability = 1 / (1 + Math.Exp(-logits[i, tag].item<float>()));
                expected -= Math.Log(corpus.Tags[rows[i].item<long>()].Contains(known[tag]) ? probability : 1 - probability) / 192;
            }
        }

        var report = reports.Single();
        Assert.Equal(("classifier", 1L, 1L, 2e-3), (report.Stage, report.Step, report.Steps, report.LearningRate));
        Assert.Equal(expected, report.Loss, 1e-4);
        using var saved = TagClassifier.FromFolder(Path.Combine(_folder, "classifier"));
        Assert.Equal(Average(Path.Combine(config.StateFolder, "classifier.safetensors")), Numbers(saved));
    }

    /// <summary>Attributes and tags of them; the last row is of none.</summary>
    [Theory]
    [InlineData("style", "pixel style", "adventurer style")]
    [InlineData("hair colour", "black hair", "brown hair", "blonde hair", "red hair", "gray hair", "pink hair", "blue hair", "green hair", "purple hair",
        "white hair")]
    [InlineData("hair shape", "short hair", "long hair", "curly hair", "medium hair", "wavy hair", "bald", "bob cut", "buzz cut", "mohawk", "pigtails",
        "ponytail", "braid", "hair bun", "twin buns", "afro", "dreads", "flat top", "cap", "beanie", "turban", "hat")]
    [InlineData("skin", "dark skin", "light skin")]
    [InlineData("background", "blue background")]
    [InlineData("clothing colour", "red shirt", "blue turtleneck", "black jacket", "green dress")]
    [InlineData("expression", "smile", "big smile", "frown", "neutral face", "open mouth", "angry", "surprised")]
    [InlineData(null, "style", "styled", "my black hair", "black hairs", "hair", "bald man", "a hat", "skin", "skinny", "a background here", "background",
        "shirt", "red shirts", "smiles", "a smile", "glasses", "earrings")]
    public void Choices_Tag_IsOfItsAttributeAlone(string? attribute, params string[] tags) =>
        Assert.All(tags, tag => Assert.Equal(attribute is null ? [] : [attribute], BaseEvaluation.Choices.Where(choice => choice.Tags.IsMatch(tag))
            .Select(static choice => choice.Name)));

    [Fact]
    public void Run_StateOfAnotherModel_SaysWhatToDo()
    {
        var config = Config("other");
        SafetensorsFile.Write(
            Path.Combine(_folder, "other-state", "autoencoder.safetensors"),
            new Dictionary<string, torch.Tensor>
            {
                ["weights"] = torch.zeros(3),
                ["first_moment"] = torch.zeros(3),
                ["second_moment"] = torch.zeros(3),
                ["average"] = torch.zeros(3),
            },
            new Dictionary<string, string> { ["steps"] = "1" });

        Assert.Contains("Delete the file to start over", Assert.Throws<InvalidDataException>(() => BasePretraining.Run(config)).Message);
    }

    [Fact]
    public void Run_ConfigWithThreeFaults_ListsThemAll()
    {
        var error = Assert.Throws<ArgumentException>(() =>
            BasePretraining.Run(new PretrainingConfig { Corpus = "nowhere", Output = _folder, DenoiserSteps = 0, AverageDecay = 1 }));

        Assert.Contains("Corpus: nowhere", error.Message);
        Assert.Contains("DenoiserSteps: got 0", error.Message);
        Assert.Contains("AverageDecay: got 1", error.Message);
    }

    /// <summary>The base's architecture, which its weights in the package fit.</summary>
    private static void AssertArchitecture(string model)
    {
        Dictionary<string, string> expected = new()
        {
            ["vae/config.json"] = """
                {"sample_size":64,"block_out_channels":[16,32,64],"layers_per_block":1,"latent_channels":4,"norm_num_groups":8,
                 "mid_block_add_attention":false,"scaling_factor":1.0}
                """,
            ["unet/config.json"] = """
                {"sample_size":16,"block_out_channels":[48,96,144],"layers_per_block":1,"attention_head_dim":[1,2,3],"cross_attention_dim":128,
                 "norm_num_groups":16,"in_channels":4,"out_channels":4}
                """,
            ["text_encoder/config.json"] = """
                {"hidden_size":128,"intermediate_size":512,"num_hidden_layers":3,"num_attention_heads":4,"max_position_embeddings":40}
                """,
            ["scheduler/scheduler_config.json"] = """
                {"_class_name":"DDIMScheduler","beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear","prediction_type":"v_prediction",
                 "timestep_spacing":"trailing",
                 "rescale_betas_zero_snr":true,"clip_sample":false,"set_alpha_to_one":true}
                """,
        };
        foreach (var (file, settings) in expected)
        {
            var saved = JsonNode.Parse(File.ReadAllText(Path.Combine(model, file)))!;
            Assert.All(JsonNode.Parse(settings)!.AsObject(), pair =>
                Assert.Equal((pair.Key, pair.Value!.ToJsonString()), (pair.Key, saved[pair.Key]?.ToJsonString())));
        }

        var unet = JsonNode.Parse(File.ReadAllText(Path.Combine(model, "unet", "config.json")))!;
        Assert.Equal(Enumerable.Repeat("CrossAttnDownBlock2D", 3), unet["down_block_types"]!.AsArray().Select(static name => (string)name!));
        Assert.Equal(Enumerable.Repeat("CrossAttnUpBlock2D", 3), unet["up_block_types"]!.AsArray().Select(static name => (string)name!));
    }

    /// <summary>What is saved is the average of the weights, as float16.</summary>
    private static void AssertAverageIsSaved(PretrainingConfig config)
    {
        using var scope = torch.NewDisposeScope();
        using var unet = UNet2DConditionModel.FromFolder(Path.Combine(config.Output, "unet"));
        using var text = ClipTextModel.FromFolder(Path.Combine(config.Output, "text_encoder"));

        float[] saved = [.. Numbers(unet), .. Numbers(text)];
        Assert.Equal(Average(Path.Combine(config.StateFolder, "denoiser.safetensors")), saved);
    }

    private static float[] Average(string state) => SafetensorsFile.LoadAll(state)["average"].to(torch.float16).to(torch.float32).data<float>().ToArray();

    private static float[] Numbers(torch.nn.Module model) =>
        [.. model.parameters().SelectMany(static parameter => parameter.detach().to(torch.float32).contiguous().data<float>().ToArray())];

    private PretrainingConfig Config(string name) => new()
    {
        Corpus = Path.Combine(_folder, "corpus"),
        Output = Path.Combine(_folder, name),
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
