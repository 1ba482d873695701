using System.Text.Json.Nodes;
using LoraNotebooks.Adapters;
using LoraNotebooks.Diffusion;
using LoraNotebooks.Formats;
using LoraNotebooks.Tests.Diffusion;
using LoraNotebooks.Tests.Models;
using LoraNotebooks.Training;
using LoraNotebooks.Training.Optimizers;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace LoraNotebooks.Tests.Training.Optimizers;

/// <summary>Optimizers of which nothing but their file and their registering line exists, through whole runs, files, plans and resuming.</summary>
public sealed class OptimizerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly StableDiffusionPipeline _pipeline = TinyPipeline.Create();

    public OptimizerTests()
    {
        OptimizerRegister.Add<MomentumOptimizer>();
        OptimizerRegister.Add<PatchworkOptimizer>();
    }

    public static TheoryData<Optimizer> All => [new AdamWOptimizer { Beta1 = 0.5 }, new MomentumOptimizer { Momentum = 0.5 }, new PatchworkOptimizer()];

    public void Dispose()
    {
        _pipeline.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Train_StoppedAndResumed_IsTheStraightRunToTheBit(Optimizer optimizer)
    {
        // With samples, so that weights for evaluation come and go.
        var config = Config(optimizer) with
        {
            SamplePrompts = ["portrait"],
            SampleEveryEpochs = 1,
            SaveEveryEpochs = 1,
            SampleOptions = new() { Steps = 1, Width = 8, Height = 8 },
        };
        var straight = Run(config with { OutputFolder = _folder.In("straight") });
        var stopped = Stopped(config, 3);

        var resumed = Run(config, stopped.StateFile);

        Assert.True(stopped.WasCancelled);
        Assert.Equal(
            straight.Steps.Skip(3).Select(static step => (step.Loss, step.GradientNorm)),
            resumed.Steps.Select(static step => (step.Loss, step.GradientNorm)));
        Assert.Equal(RunFiles.Numbers(straight.StateFile), RunFiles.Numbers(resumed.StateFile));
        Assert.Equal(RunFiles.Numbers(straight.File), RunFiles.Numbers(resumed.File));
        Assert.Equal(
            straight.Samples.TakeLast(1).Select(static sample => ((PictureSample)sample).Image.Pixels.ToArray()),
            resumed.Samples.TakeLast(1).Select(static sample => ((PictureSample)sample).Image.Pixels.ToArray()));

        // What is not drawn and not saved in between trains alike.
        var undisturbed = Run(Config(optimizer) with { OutputFolder = _folder.In("undisturbed") });
        Assert.Equal(RunFiles.Numbers(straight.StateFile), RunFiles.Numbers(undisturbed.StateFile));
        Assert.Equal(RunFiles.Numbers(straight.File), RunFiles.Numbers(undisturbed.File));
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Train_AnyOptimizer_IsToldByStateRecordMetadataAndPlan(Optimizer optimizer)
    {
        var config = Config(optimizer) with { Epochs = 1 };

        var result = Run(config);

        using var scope = NewDisposeScope();
        var tensors = SafetensorsFile.LoadAll(result.StateFile);
        var adapter = SafetensorsFile.LoadAll(result.File)
            .Where(static pair => !pair.Key.EndsWith("alpha", StringComparison.Ordinal))
            .Select(static pair => pair.Value.shape)
            .ToList();
        var states = optimizer.States(Shapes(config)).ToList();
        Assert.Equal(
            states.Select(static state => state.Name).Concat(["losses", "weights"]).Order(StringComparer.Ordinal),
            tensors.Keys.Order(StringComparer.Ordinal));
        Assert.All(
            states,
            state => Assert.Equal((state.Type, string.Join(",", state.Shape)), (tensors[state.Name].dtype, string.Join(",", tensors[state.Name].shape))));
        var options = new JsonObject { ["Name"] = optimizer.Name };
        foreach (var (name, value) in OptimizerJson.Options(optimizer))
        {
            options[name] = value?.DeepClone();
        }

        Assert.Equal(options.ToJsonString(), RunFiles.Record(result)["config"]!["Optimizer"]!.ToJsonString());
        Assert.Equal(options.ToJsonString(), JsonNode.Parse(RunFiles.Metadata(result.StateFile)["config"])!["Optimizer"]!.ToJsonString());
        Assert.Equal(optimizer.MetadataText(config.WeightDecay), RunFiles.Metadata(result.File)["ss_optimizer"]);
        Assert.Equal(optimizer, TrainingConfig.FromJson<DiffusionTrainingConfig>(RunFiles.Record(result)["config"]!.AsObject()).Optimizer);

        // The plan counts the bytes that the state's file has, and the weights that train while others are looked at.
        var need = MemoryPlan.For(Outline(), config, new MemoryPlanOptions { Types = [float32], Resolutions = [16] }).Needs.Single();
        var bytes = tensors.Where(static pair => pair.Key != "losses").Sum(static pair => pair.Value.numel() * pair.Value.element_size());
        var trained = tensors["weights"].numel();
        Assert.Equal(adapter.Sum(static shape => shape.Aggregate(1L, static (product, size) => product * size)), trained);
        Assert.Equal(bytes + (optimizer.HasEvaluationWeights ? 4 * trained : 0), need.Adapter);
        Assert.Equal((2 + optimizer.WorkingCopies) * 4 * trained, need.Update);
    }

    [Fact]
    public void Train_EvaluationWeights_AreWrittenAndDrawnWhileOthersTrain()
    {
        var result = Run(Config(new PatchworkOptimizer()) with { Epochs = 1 });

        var (weights, average) = (RunFiles.Numbers(result.StateFile, "weights"), RunFiles.Numbers(result.StateFile, "average"));
        Assert.NotEqual(weights, average);
        Assert.Equal(average.Order(), AdapterNumbers(result.File).Order());
        Assert.True(RunFiles.Numbers(result.StateFile, "d").Single() > 0.5);
    }

    [Fact]
    public void Train_OtherOptimizer_IsNotResumed()
    {
        var state = Run(Config(new MomentumOptimizer()) with { Epochs = 1 }).StateFile;

        var message = Assert.Throws<InvalidDataException>(() => Run(Config(new MomentumOptimizer { Momentum = 0.25 }), state)).Message;

        Assert.Contains("""- Optimizer: {"Name":"Momentum","Momentum":0.9}, here {"Name":"Momentum","Momentum":0.25}""", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Train_WarningOfAnOptimizer_IsTheRuns() => Assert.Equal(
        ["WeightDecay has no effect: Patchwork has none"],
        Run(Config(new PatchworkOptimizer()) with { Epochs = 1, WeightDecay = 0.5 }).Warnings);

    [Fact]
    public void Update_Momentum_GivesTorchsNumbers()
    {
        using var scope = NewDisposeScope();
        Parameter[] ours = [nn.Parameter(arange(6).to(float32).reshape(2, 3)), nn.Parameter(ones(4))];
        Parameter[] theirs = [.. ours.Select(static parameter => nn.Parameter(parameter.detach().clone()))];
        using var run = new OptimizerRun(new MomentumOptimizer { Momentum = 0.8 }, [new ParameterGroup("all", ours, 0.3)]);
        using var torchs = optim.SGD(theirs, 0.1, momentum: 0.8, weight_decay: 0.3);
        for (var t = 1; t <= 5; t++)
        {
            foreach (var (i, parameter) in ours.Concat(theirs).Index())
            {
                parameter.grad = full_like(parameter, t - (i % 2));
            }

            run.Step([0.1]);
            torchs.step();

            Assert.All(ours.Zip(theirs), pair => Assert.InRange(Fixtures.MaxDifference(pair.First, pair.Second), 0, 1e-6));
        }
    }

    [Fact]
    public void UseEvaluationWeights_AndBack_IsExactAndGuarded()
    {
        using var scope = NewDisposeScope();
        var parameter = nn.Parameter(ones(2, 3));
        using var run = new OptimizerRun(new PatchworkOptimizer(), [new ParameterGroup("all", [parameter], 0)]);
        parameter.grad = arange(6).to(float32).reshape(2, 3);
        run.Step([0.1]);
        var trained = PlainTraining.Numbers(parameter);

        run.UseEvaluationWeights();
        run.UseEvaluationWeights();

        var (seen, state) = (PlainTraining.Numbers(parameter), run.State());
        Assert.Equal(PlainTraining.Numbers(state["average"]), seen);
        Assert.Equal(trained, PlainTraining.Numbers(state["weights"]));
        Assert.NotEqual(trained, seen);
        Assert.Contains("Call UseTrainingWeights before", Assert.Throws<InvalidOperationException>(() => run.Step([0.1])).Message, StringComparison.Ordinal);

        run.UseTrainingWeights();
        run.UseTrainingWeights();
        Assert.Equal(trained, PlainTraining.Numbers(parameter));
        Assert.Equal(1, run.Steps);

        // A state is taken though the weights for evaluation are in place, and nothing is left of them.
        run.UseEvaluationWeights();
        state["weights"].fill_(7);
        run.Restore(state, 4);
        run.UseTrainingWeights();
        Assert.All(PlainTraining.Numbers(parameter), static value => Assert.Equal(7, value));
        Assert.Equal(4, run.Steps);
    }

    [Fact]
    public void OptimizerRun_StatesOfOtherTypesAndShapes_AreNamedWithTheirOwn()
    {
        using var scope = NewDisposeScope();
        using var run = new OptimizerRun(new PatchworkOptimizer(), [new ParameterGroup("all", [nn.Parameter(ones(2, 3))], 0)]);
        var state = run.State();
        state["d"] = zeros(1);
        state["codes.0"] = zeros(8);
        state.Remove("scales.0");

        Assert.Contains(
            "does not fit: d missing or not 1 numbers of Float64 long; codes.0 missing or not 8 numbers of Byte long; "
                + "scales.0 missing or not 2 numbers long. Resume",
            Assert.Throws<InvalidDataException>(() => run.Restore(state, 1)).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("weights", "a")]
    [InlineData("losses", "a")]
    [InlineData("a", "a")]
    public void OptimizerRun_NamesOfStatesThatAreTaken_AreRefused(string first, string second)
    {
        using var scope = NewDisposeScope();

        var message = Assert.Throws<ArgumentException>(
            () => new OptimizerRun(new Declaring(first, second), [new ParameterGroup("all", [nn.Parameter(ones(1))], 0)])).Message;

        Assert.StartsWith(
            $"Got states of Declaring called {first}, expected a name for each that is neither weights nor losses",
            message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void OptimizerStep_StateThatIsNone_SaysWhichThereAre()
    {
        using var scope = NewDisposeScope();
        var parameter = nn.Parameter(ones(2));
        parameter.grad = ones(2);

        using var unknown = new OptimizerRun(new Declaring("a", "b") { Asked = "c" }, [new ParameterGroup("all", [parameter], 0)]);
        Assert.Contains(
            "Got the state 'c', expected one that the optimizer declares: a, b. Add it",
            Assert.Throws<ArgumentException>(() => unknown.Step([1])).Message,
            StringComparison.Ordinal);
        using var whole = new OptimizerRun(new Declaring("a", "b") { Asked = "a" }, [new ParameterGroup("all", [parameter], 0)]);
        Assert.Contains(
            "Got the state 'a' of shape [1], expected one number for each of the 2 weights. Take it whole",
            Assert.Throws<ArgumentException>(() => whole.Step([1])).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Parameters_OfStretches_AreThoseWithGradientsInTheirShapes()
    {
        using var scope = NewDisposeScope();
        Parameter[] parameters =
        [
            nn.Parameter(full([2, 3], 1f)),
            nn.Parameter(full([4], 2f)),
            nn.Parameter(full([1, 2, 1], 3f)),
            nn.Parameter(full([2], 4f)),
            nn.Parameter(full([1], 5f)),
        ];
        var seen = new List<string>();
        var watching = new Watching
        {
            Seen = step => seen.AddRange(step.Stretches.Select(static x =>
            $"η {x.LearningRate}, λ {x.WeightDecay}: "
                + string.Join(" ", x.Parameters.Select(static p =>
                    $"{p.Index}@{p.Offset}[{string.Join(",", p.Weights.shape)}]={p.Weights.mean().item<float>()}+{p.Gradient.mean().item<float>()}"))))
        };
        using var run = new OptimizerRun(watching, [new ParameterGroup("a", parameters[..4], 0.5), new ParameterGroup("b", parameters[4..], 0)]);
        foreach (var (i, parameter) in parameters.Index().Where(static pair => pair.Index != 1))
        {
            parameter.grad = full_like(parameter, 10 + i);
        }

        run.Step([1, 2]);

        Assert.Equal(["η 1, λ 0.5: 0@0[2,3]=1+10", "η 1, λ 0.5: 2@10[1,2,1]=3+12 3@12[2]=4+13", "η 2, λ 0: 4@14[1]=5+14"], seen);
    }

    private DiffusionTrainingConfig Config(Optimizer optimizer) => TinyRun.Config(_folder.Path) with
    {
        Optimizer = optimizer,
        Epochs = 3,
        TextEncoderLearningRate = 1e-3,
        UNetLora = new LoraConfig { Rank = 3, Alpha = 3, TargetModules = ["to_q"] },
        Schedule = new LearningRateSchedule { Kind = ScheduleKind.Constant },
    };

    private TrainingResult Run(DiffusionTrainingConfig config, string? state = null)
    {
        using var result = new LoraTrainer { ResumeFrom = state }.Train(config, _pipeline, TinyRun.First(4));
        return result;
    }

    private TrainingResult Stopped(DiffusionTrainingConfig config, int after)
    {
        using var source = new CancellationTokenSource();
        using var result = new LoraTrainer().Train(
            config,
            _pipeline,
            TinyRun.First(4),
            new Immediate<TrainingStep>(step => { if (step.Step == after) { source.Cancel(); } }),
            source.Token);
        return result;
    }

    private List<long[]> Shapes(DiffusionTrainingConfig config)
    {
        using var lora = StableDiffusionLora.Create(_pipeline, "shapes", config.UNetLora, config.TextEncoderLora, seed: 1);
        return [.. new TrainedGroups(config, DiffusionTask.NetworksOf(lora, config)).Groups
            .SelectMany(static group => group.Parameters)
            .Select(static parameter => parameter.shape)];
    }

    private PipelineOutline Outline() => new()
    {
        Source = "/models/tiny",
        UNet = _pipeline.UNet.Config,
        Vae = _pipeline.Vae.Config,
        TextEncoders = [.. _pipeline.Text.Encoders.Select(static encoder => encoder.Config)],
        Stored = [],
    };

    private static IEnumerable<double> AdapterNumbers(string path)
    {
        using var scope = NewDisposeScope();
        return [.. SafetensorsFile.LoadAll(path)
            .Where(static pair => !pair.Key.EndsWith("alpha", StringComparison.Ordinal))
            .SelectMany(static pair => PlainTraining.Numbers(pair.Value))];
    }

    private sealed record Declaring(string First, string Second) : Optimizer
    {
        public string Asked { get; init; } = "";

        public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) => [new(First, [1]), new(Second, [1])];

        public override void Update(OptimizerStep step) => step.Stretches[0][Asked].zero_();
    }

    private sealed record Watching : Optimizer
    {
        public required Action<OptimizerStep> Seen { get; init; }

        public override IEnumerable<StateTensor> States(IReadOnlyList<long[]> shapes) => [];

        public override void Update(OptimizerStep step) => Seen(step);
    }
}
